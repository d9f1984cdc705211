// The index: which version answers, how full it is, every version that is kept, and the way back to one of them.

import { get, post } from "./api.js";
import { h } from "./dom.js";
import { bytes, count, percent } from "./format.js";
import { live } from "./live.js";
import { keepQuery, link } from "./router.js";
import { button, card, choice, confirm, heading, problemBox, row, state, table, tag, toast, when } from "./ui.js";

export const title = "Index";

const EVERY_MS = 3000;
const LISTING_MS = 30000;
const MOST = 50;
const COLUMNS = [["Generation", "number"], ["Version", "wide"], ["What it is", "grow"], ["Documents", "number"], ["Vectors", "number wide"], ["Size", "number wide"], ["Made", "number wide"], ["", "act"]];
const ADVICE = {
  fine: "One machine holds this with ease.",
  plan: "Plan to move this index to a larger engine.",
  now: "Move this index to a larger engine now.",
};

export function mount(el, { query }) {
  const asked = { index: query.get("index") ?? "default" };
  const all = h("div.stack");
  const indexes = h("span");
  let known = "";
  let versions = { index: "", read: 0, found: [] };

  const watch = live(all, EVERY_MS, load, (told) => show(told, () => watch.now()));

  async function load(signal) {
    const version = await get("/admin/index-version", asked, { signal });
    if (version.indexes.join() !== known && version.indexes.length > 1) {
      known = version.indexes.join();
      indexes.replaceChildren(choice(version.indexes, {
        value: asked.index,
        label: "Index",
        onchange: ({ target }) => {
          asked.index = target.value;
          keepQuery(asked);
          watch.now();
        },
      }));
    }
    // Each of them is a file of its own in the store.
    const old = performance.now() - versions.read > LISTING_MS || versions.index !== asked.index;
    if (old || versions.found[0]?.generation !== version.newest?.generation) {
      const told = await get("/admin/index/versions", { ...asked, limit: MOST }, { signal });
      versions = { index: asked.index, read: performance.now(), found: told.versions };
    }
    return { version, versions: versions.found };
  }

  el.append(heading("Index", "Versions are never changed: a build or a rollback publishes a new one, and answers swap to it.", indexes,
    button("Build now", () => call("build_index", asked.index)),
    button("Embed everything again", () => rebuild(asked.index))), all);
  return () => watch.stop();
}

function show({ version, versions }, again) {
  const { newest } = version;
  if (!newest) return card("now", "Now", h("p.none", "Nothing is indexed yet: ", h("a", { href: link("/buckets") }, "drop a file"), "."));
  return [
    version.trouble && problemBox(`The newest version cannot be loaded, the one before still answers: ${version.trouble}`),
    newest.held && held(newest, again),
    h("div.columns.pair", { key: "now" },
      card("now", "Now", facts(version)),
      card("urgency", "How full it is", urgency(version)),
    ),
    card("versions", "Versions", versionTable(versions, newest, again)),
  ];
}

function held(newest, again) {
  return h("div.notice-box", { key: "held", role: "status" },
    h("p", h("strong", `Held at generation ${count(newest.restores ?? newest.generation)}.`),
      " Nothing new is published. What is embedded meanwhile is kept, and becomes searchable after the release."),
    button("Release it", async () => {
      const told = await post("/admin/index/release", { index: newest.index });
      toast(told.task_id ? "Released. A build brings what was held back." : "Released.");
      await again();
    }, { style: "main" }));
}

function facts({ version, generation, newest, up_to_date: current }) {
  const pairs = [
    ["Answers from", version ? [h("span.mono", version), ` generation ${count(generation)} `, current ? state("the newest", "good") : state(`generation ${count(newest.generation)} is being loaded`, "busy")] : "nothing yet"],
    ["Documents", count(newest.documents)],
    ["Vectors", `${count(newest.vectors)} of ${count(newest.dimensions)} dimensions`],
    ["Size", `${bytes(newest.bytes)}, ${newest.kind}`],
    ["Model", h("span.mono", newest.model)],
    ["Published", when(newest.created)],
  ];
  return h("dl.facts", pairs.map(([name, value]) => [h("dt", name), h("dd", value)]));
}

/** What the function `stats` says, too: 100 is what one machine should hold at most. */
function urgency({ migration_urgency: level, advice, capacity }) {
  return [
    h("p.value", percent(level / 100), h("span.soft", " of what one machine should hold")),
    h("meter.full", { min: 0, max: 100, low: 70, high: 90, optimum: 0, value: level, "aria-label": "How full the index is" }),
    h("p", state(ADVICE[advice], { fine: "good", plan: "warn", now: "failed" }[advice])),
    h("p.soft", "Full is 500,000 vectors or 2 GiB, on any machine."),
    capacity && h("p", `This one has memory for ${count(capacity.vectors_in_memory)} such vectors, and searches ${count(capacity.vectors_in_time)} within 100 ms (${
      capacity.search_p99_ms === null ? "estimated" : `measured: p99 ${capacity.search_p99_ms} ms`}).`),
    capacity && h("p.soft", capacity.next_step),
  ];
}

function versionTable(versions, newest, again) {
  const rows = versions.map((one) => row(String(one.generation), COLUMNS,
    count(one.generation), h("span.mono", one.version), meaning(one, newest),
    count(one.documents), count(one.vectors), bytes(one.bytes), when(one.created),
    one.generation !== newest.generation && button("Roll back", () => rollback(one, again), { label: `Roll back to generation ${one.generation}` })));
  return [table("Versions", COLUMNS, rows), versions.length === MOST && h("p.soft.under", `The newest ${MOST}; older ones are listed by GET /admin/index/versions.`)];
}

function meaning(one, newest) {
  const made = one.restores === null ? "A build" : one.held ? `Back to generation ${count(one.restores)}` : `Released at generation ${count(one.restores)}`;
  return [made, one.generation === newest.generation && [" ", tag("current", "good")], one.held && one.generation === newest.generation && [" ", tag("held", "warn")]];
}

async function rollback(one, again) {
  const text = `Answers come from its ${count(one.documents)} documents again. Builds are held until you release the index; nothing is lost.`;
  if (!(await confirm(`Roll back to generation ${one.generation}?`, text, "Roll back"))) return;
  const made = await post("/admin/index/rollback", { index: one.index, generation: one.generation });
  toast(`Generation ${made.generation} has the content of generation ${one.generation}.`);
  await again();
}

async function call(name, index) {
  const { task_id: id } = await post(`/async-function/${name}`, { index });
  location.hash = link(`/invocations/${id}`);
}

async function rebuild(index) {
  const text = `Every document of the index ${index} is read and embedded anew. Searches go on meanwhile.`;
  if (!(await confirm("Embed everything again?", text, "Embed everything"))) return;
  const { task_id: id } = await post("/admin/rebuild-embeddings", { index });
  location.hash = link(`/invocations/${id}`);
}
