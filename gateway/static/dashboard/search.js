// Search: the nearest pieces of the documents to a question, from the version of the index that answers now.

import { get } from "./api.js";
import { draw, h } from "./dom.js";
import { count, duration } from "./format.js";
import { marked, snippet } from "./marks.js";
import { breakable, pathOf } from "./objects.js";
import { keepQuery, link } from "./router.js";
import { choice, field, heading, trouble } from "./ui.js";

export const title = ({ query }) => (query.get("q") ? `${query.get("q")} · Search` : "Search");

const TYPING_MS = 250;
const WARMING_MS = 1500;
const MOST = [10, 20, 50, 100];

export function mount(el, { query }) {
  const asked = { q: query.get("q") ?? "", k: query.get("k") ?? "10", index: query.get("index") ?? "" };
  const results = h("div.results");
  const about = h("p.soft", { role: "status" });
  const box = h("input", { type: "search", name: "q", value: asked.q, autocomplete: "off", maxlength: "20000", placeholder: "Ask your documents" });
  const indexes = h("span");
  let running = new AbortController();
  let timer = 0;

  async function ask() {
    clearTimeout(timer);
    running.abort();
    const mine = (running = new AbortController());
    keepQuery(asked);
    if (!asked.q.trim()) {
      draw(results);
      draw(about);
      return;
    }
    results.setAttribute("aria-busy", "true");
    try {
      const began = performance.now();
      const told = await get("/search", asked, { signal: mine.signal });
      draw(about, inWords(told, (performance.now() - began) / 1000));
      draw(results, list(told, asked.q));
    } catch (error) {
      if (error.name === "AbortError") return;
      if (!("status" in error)) throw error;
      draw(about);
      draw(results, trouble(error));
      if (error.status === 503 || error.status === 0) timer = setTimeout(ask, WARMING_MS); // the model is warming
    } finally {
      if (mine === running) results.removeAttribute("aria-busy");
    }
  }

  function soon(event) {
    asked.q = event.target.value;
    clearTimeout(timer);
    timer = setTimeout(ask, TYPING_MS);
  }

  function change(more) {
    Object.assign(asked, more);
    ask();
  }

  box.addEventListener("input", soon);
  const form = h("form.ask", {
    role: "search",
    onsubmit: (event) => {
      event.preventDefault();
      change({ q: box.value });
    },
  },
    h("label.hidden", { for: "ask-q" }, "What to search for"), box,
    choice(MOST.map((most) => [String(most), `${most} results`]), { value: asked.k, label: "How many results", onchange: ({ target }) => change({ k: target.value }) }),
    indexes,
    h("button.main", { type: "submit" }, "Search"),
  );
  box.id = "ask-q";
  el.append(heading("Search", "The nearest pieces of text, by meaning."), form, about, results);

  const stop = new AbortController();
  get("/admin/index-version", {}, { signal: stop.signal, allow: [502, 503] })
    .then((told) => {
      if ((told.indexes ?? []).length < 2) return;
      indexes.append(choice(told.indexes, { value: asked.index || told.index, label: "Index", onchange: ({ target }) => change({ index: target.value }) }));
    })
    .catch((error) => {
      if (!("status" in error) && error.name !== "AbortError") throw error; // the search itself tells of it
    });
  if (asked.q) ask();
  return () => {
    clearTimeout(timer);
    running.abort();
    stop.abort();
  };
}

function inWords(told, seconds) {
  const found = told.results.length === 1 ? "1 result" : `${count(told.results.length)} results`;
  const from = told.version ? [" from version ", h("a", { href: link("/index", { index: told.index }) }, told.version), ` (generation ${count(told.generation)})`] : ", nothing is indexed yet";
  return [found, from, `, in ${duration(seconds)}.`];
}

function list({ results, version }, words) {
  if (!results.length) {
    return h("p.none", version ? "Nothing was found." : ["There is nothing to find yet: ", h("a", { href: link("/buckets") }, "drop a file"), "."]);
  }
  return h("ol", results.map((hit) => result(hit, words)));
}

function result(hit, words) {
  const short = snippet(hit.text, words);
  const cut = short.length < hit.text.length;
  const score = Math.max(0, Math.min(1, hit.score));
  return h("li.hit", { key: `${hit.bucket}/${hit.key}/${hit.chunk}` },
    h("div.place",
      h("a", { href: `/buckets/${pathOf(hit.bucket, hit.key)}`, download: true }, breakable(hit.key)),
      h("span.soft", `${hit.bucket}, piece ${count(hit.chunk + 1)}, characters ${count(hit.start)} to ${count(hit.end)}`),
      h("span.score", { title: "Cosine: 1 is the same meaning" }, h("meter", { min: 0, max: 1, value: score, "aria-label": "Score" }), hit.score.toFixed(3)),
    ),
    h("p.text", marked(short, words)),
    cut && h("details", h("summary", "The whole piece"), h("p.text", marked(hit.text, words))),
  );
}
