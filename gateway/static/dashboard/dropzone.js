// Where files are dropped or chosen, and the list of those that are on their way.

import { draw, h } from "./dom.js";
import { chosen, dropped } from "./files.js";
import { bytes, count, duration } from "./format.js";
import { breakable } from "./objects.js";
import { link } from "./router.js";
import { Uploads } from "./uploads.js";
import { button, fail, field, progress, row, state, table } from "./ui.js";

const SHOWN = 100;
const COLUMNS = [["File", "name"], ["How far it is", "said"], ["Size", "number wide"], ["", "act"]];
const WAY = ["Stored", "Embedded", "Searchable"];
const REACHED = { waiting: 0, uploading: 0, stored: 1, working: 1, embedded: 2, searchable: 3 };
const WORDS = { stored: "In the store", working: "Its function runs" };

/** What is on its way goes on while another view is shown. */
let uploads = null;

function shared() {
  if (uploads) return uploads;
  uploads = new Uploads();
  window.addEventListener("beforeunload", (event) => uploads.sending && event.preventDefault());
  return uploads;
}

/**
 * The zone as {zone, list, into({bucket, limit, held, indexed, takes}), stop()}: two elements for the view, and what it
 * is told of the bucket: bytes a file may have, whether its index is held, whether it has one, endings of names.
 * Files may be dropped anywhere on the page. `settled()` is called when something has come to its end.
 */
export function dropZone(settled) {
  const found = shared();
  const folder = h("input", { type: "text", placeholder: "none", autocomplete: "off", spellcheck: "false" });
  const told = h("p.soft");
  const list = h("div");
  const summary = h("p", { role: "status" });
  const clear = button("Clear the list", () => found.clear(), { style: "plain" });
  const target = { bucket: "", held: false, indexed: true };
  let frame = 0;
  let ended = 0;

  function take(files) {
    const under = folder.value.trim().replace(/^\/+|\/+$/g, "");
    // Some systems give names in pieces (u and two dots); the same name must be the same key.
    for (const { file, path } of files) found.add(file, target, (under ? `${under}/${path}` : path).normalize("NFC"));
  }

  const pick = (text, style, attributes) => h(`label.button${style}`, text, h("input.hidden", {
    type: "file", multiple: true, ...attributes,
    onchange: ({ target: input }) => {
      take(chosen(input));
      input.value = "";
    },
  }));
  const zone = h("div.drop", h("p.large", "Drop files or folders here"), told,
    h("div.controls", pick("Choose files", ".main", {}), pick("Choose a folder", "", { webkitdirectory: true })),
    field("Put them in the folder", folder));

  const over = (yes) => zone.classList.toggle("over", yes);
  const files = (event) => event.dataTransfer?.types.includes("Files");
  const events = {
    dragover: (event) => {
      if (!files(event)) return;
      event.preventDefault();
      over(true);
    },
    dragleave: (event) => event.relatedTarget === null && over(false),
    drop: (event) => {
      over(false);
      if (!files(event)) return;
      event.preventDefault();
      dropped(event.dataTransfer).then(take, (error) => fail(Object.assign(error, { status: 0 })));
    },
  };
  for (const [name, work] of Object.entries(events)) document.addEventListener(name, work);

  const show = () => {
    frame ||= requestAnimationFrame(() => {
      frame = 0;
      const all = [...found.all.values()];
      const over = all.filter((one) => one.over).length;
      if (over > ended) settled();
      ended = over;
      const text = inWords(all);
      if (summary.textContent !== text) summary.textContent = text;
      clear.hidden = !found.all.size;
      draw(list, rows(found, target));
    });
  };
  found.addEventListener("change", show);
  show();
  return {
    zone,
    list: h("div.stack", { "data-own": true }, h("div.controls", summary, clear), list),
    into(bucket) {
      Object.assign(target, bucket);
      found.limit = bucket.limit;
      const takes = bucket.takes.length ? `: ${bucket.takes.join(", ")}` : "";
      const text = `into the bucket ${bucket.bucket}${takes}, up to ${bytes(bucket.limit)} each`;
      if (told.textContent !== text) told.textContent = text;
    },
    stop() {
      cancelAnimationFrame(frame);
      found.removeEventListener("change", show);
      for (const [name, work] of Object.entries(events)) document.removeEventListener(name, work);
    },
  };
}

function inWords(all) {
  if (!all.length) return "No file was sent yet.";
  const number = (...stages) => all.filter((one) => stages.includes(one.stage)).length;
  const parts = [
    [number("searchable"), "searchable"],
    [number("done"), "done"],
    [number("unwatched"), "stored only"],
    [number("failed"), "failed"],
  ].filter(([found]) => found).map(([found, word]) => `${count(found)} ${word}`);
  const open = all.filter((one) => !one.over).length;
  if (open) parts.unshift(`${count(open)} on the way`);
  return `${count(all.length)} ${all.length === 1 ? "file" : "files"}: ${parts.join(", ")}.`;
}

/** Those that need somebody first, then what is on its way, then what is done, the newest first. */
function rows(found, target) {
  const rank = (one) => (one.stage === "failed" ? 0 : one.stage === "waiting" ? 2 : one.over ? 3 : 1);
  const all = [...found.all.values()].reverse().sort((one, other) => rank(one) - rank(other));
  const shown = all.slice(0, SHOWN).map((one) => row(one.id, COLUMNS, name(one), way(one, target), bytes(one.file.size),
    one.again && button("Try again", () => found.again(one), { label: `Send ${one.key} again` })));
  const more = all.length - shown.length;
  return [all.length > 0 && table("Files on their way", COLUMNS, shown), more > 0 && h("p.soft", `and ${count(more)} more`)];
}

function name(one) {
  return h("span", { title: one.id }, breakable(one.key));
}

function way(one, target) {
  if (one.stage === "failed") return h("div", state("Failed", "failed"), h("p.bad", one.note, " ", one.invocation && h("a", { href: link(`/invocations/${one.invocation}`) }, "the call")));
  if (one.stage === "unwatched") return h("div", state("Stored only", "warn"), h("p.soft", one.note));
  if (one.stage === "done") return state(`Done after ${duration(one.seconds)}`, "good");
  if (!one.indexed) return state(WORDS[one.stage] ?? doing(one), "busy");
  const reached = REACHED[one.stage];
  const steps = WAY.map((word, at) => h("li", { class: at < reached ? "past" : at === reached ? "now" : "" }, at === reached ? doing(one, word) : word));
  return h("div.way",
    h("ol", steps),
    one.stage === "uploading" && progress(`${one.key} is being sent`, one.sent, one.file.size),
    one.stage === "searchable" && h("p.soft", `after ${duration(one.seconds)}, ${one.chunks === 1 ? "1 chunk" : `${count(one.chunks)} chunks`}`),
    one.stage === "embedded" && target.held && h("p.soft", "The index is held by a rollback; it is searchable after the release."),
  );
}

/** The step that a file is in just now, in words. */
function doing(one, word = "") {
  if (one.stage === "waiting") return "Waits";
  if (one.stage === "uploading") return `Sending ${one.file.size ? Math.floor((100 * one.sent) / one.file.size) : 100} %`;
  if (one.stage === "working") return "Embedding";
  return one.stage === "stored" ? "Waits for a worker" : one.stage === "embedded" ? "Building the index" : word;
}
