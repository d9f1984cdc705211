// Which view is shown: the part after `#` is path and query, as in #/invocations?state=dead.

import { draw, h } from "./dom.js";
import { heading, problemBox } from "./ui.js";

/** Path → module in this folder. A part in braces is a parameter; the last one takes slashes, too. */
const VIEWS = {
  "/": "overview",
  "/functions": "functions",
  "/functions/{name}": "function",
  "/invocations": "invocations",
  "/invocations/{id}": "invocation",
  "/queues": "queues",
  "/schedules": "schedules",
  "/dead": "dead",
  "/buckets": "buckets",
  "/search": "search",
  "/index": "indexes",
};

const TABLE = Object.entries(VIEWS).map(([path, module]) => ({ path, module, pattern: pattern(path) }));

function pattern(path) {
  return new RegExp(`^${path.replace(/\{(\w+)\}$/, "(?<$1>.+)")}$`);
}

/** The address of a view: link("/invocations", {state: "dead"}). */
export function link(path, query = {}) {
  const asked = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== "" && value != null));
  return `#${path}${asked.size ? `?${asked}` : ""}`;
}

export function go(path, query) {
  location.hash = link(path, query);
}

/** What a view is asked for in its own address; the view is not mounted again. */
export function keepQuery(query) {
  history.replaceState(null, "", link(place().path, query));
}

function place() {
  const [path, query = ""] = location.hash.replace(/^#/, "").split("?", 2);
  return { path: path || "/", query: new URLSearchParams(query) };
}

function parameters(groups = {}) {
  try {
    return Object.fromEntries(Object.entries(groups).map(([name, text]) => [name, decodeURIComponent(text)]));
  } catch {
    return { ...groups }; // a percent sign that means itself
  }
}

/** Show views in `main` as the address says; `changed({path, title})` is told of each. */
export function start(main, changed) {
  let leave = () => {};
  let turn = 0;

  async function show(first) {
    const { path, query } = place();
    if (!path.startsWith("/")) return;
    const mine = ++turn;
    const found = TABLE.map((one) => ({ ...one, match: one.pattern.exec(path) })).find((one) => one.match);
    let view;
    try {
      if (!found) throw new Error(`The dashboard has no page ${path}.`);
      view = await import(`./${found.module}.js`);
    } catch (error) {
      view = { title: "Not there", mount: (el) => draw(el, heading("Not there"), problemBox(error.message)) };
    }
    if (mine !== turn) return;
    leave();
    const el = h("div.view");
    main.replaceChildren(el);
    const params = { ...parameters(found?.match.groups), query };
    leave = view.mount(el, params) ?? (() => {});
    const title = typeof view.title === "function" ? view.title(params) : view.title;
    document.title = `${title} · Tundish`;
    changed({ path, title });
    if (!first) {
      window.scrollTo(0, 0);
      (el.querySelector("h1") ?? main).focus({ preventScroll: true });
    }
  }

  window.addEventListener("hashchange", () => show(false));
  return show(true);
}
