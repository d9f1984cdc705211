// Buckets: files in, what became of them, and what their triggers do.

import { get, post, remove } from "./api.js";
import { h } from "./dom.js";
import { dropZone } from "./dropzone.js";
import { bytes, count } from "./format.js";
import { live } from "./live.js";
import { breakable, pathOf } from "./objects.js";
import { keepQuery, link } from "./router.js";
import { button, card, choice, confirm, field, heading, problemBox, row, state, table, tag, toFunction, toast, when } from "./ui.js";

export const title = "Buckets";

const EVERY_MS = 3000;
const TRIGGERS = [["Function"], ["Takes", "grow"], ["Woken by", "wide"], ["Done", "number"], ["Waits", "number"], ["Failed", "number"], ["Listed", "number wide"]];
const DOCUMENTS = [["Document", "name"], ["State", "said"], ["Size", "number wide"], ["When", "number wide"], ["", "act"]];
const STATES = [["", "Any state"], "pending", "processing", "completed", "failed", "removed"];
const TONES = { completed: "good", failed: "failed", processing: "busy", pending: "waiting" };

export function mount(el, { query }) {
  const asked = { bucket: query.get("bucket") ?? "", status: query.get("status") ?? "", prefix: query.get("prefix") ?? "" };
  let cursor = null;
  const triggers = h("div.stack");
  const documents = h("div");
  const bucketChoice = h("span");
  const drop = dropZone(() => list.now());

  const overview = live(triggers, EVERY_MS, loadTriggers, (told) => triggerTable(told, asked.bucket));
  const list = live(documents, EVERY_MS, loadDocuments, (page) => documentTable(page, follow, () => list.now()));

  async function loadTriggers(signal) {
    const [told, deployed, index] = await Promise.all([
      get("/admin/buckets", {}, { signal }),
      get("/functions", {}, { signal }),
      get("/admin/index-version", {}, { signal, allow: [502, 503] }),
    ]);
    // Those first whose documents can be searched.
    const known = [...told.triggers].sort((one, other) => (other.index !== null) - (one.index !== null));
    const names = [...new Set(known.map((one) => one.bucket))];
    asked.bucket = names.includes(asked.bucket) ? asked.bucket : (names[0] ?? "");
    const takes = taken(deployed.functions, asked.bucket);
    drop.into({
      bucket: asked.bucket,
      limit: told.upload_limit,
      held: index.newest?.held ?? false,
      indexed: known.some((one) => one.bucket === asked.bucket && one.index !== null),
      takes: [...new Set(Object.values(takes).flat())],
    });
    zone.hidden = !names.length;
    bucketChoice.replaceChildren(names.length > 1 ? choice(names, { value: asked.bucket, label: "Bucket", onchange: ({ target }) => change({ bucket: target.value }) }) : "");
    return { ...told, takes };
  }

  function loadDocuments(signal) {
    return get("/documents", { ...asked, cursor }, { signal });
  }

  function follow(next) {
    cursor = next;
    return list.now();
  }

  function change(more) {
    Object.assign(asked, more);
    cursor = null;
    keepQuery(asked);
    overview.now();
    list.now();
  }

  let typing = 0;
  const filter = h("div.controls.filter",
    field("Documents below", h("input", {
      type: "search", value: asked.prefix, placeholder: "any folder", autocomplete: "off",
      oninput: ({ target }) => {
        clearTimeout(typing);
        typing = setTimeout(() => change({ prefix: target.value }), 250);
      },
    })),
    field("In the state", choice(STATES, { value: asked.status, onchange: ({ target }) => change({ status: target.value }) })),
  );
  const zone = card("drop", "Add files", drop.zone, drop.list);
  el.append(
    heading("Buckets", "Files go in, their functions run, and what they say can be searched.", bucketChoice),
    zone,
    card("triggers", "Triggers", triggers),
    card("documents", "Documents", filter, documents),
  );
  return () => {
    clearTimeout(typing);
    overview.stop();
    list.stop();
    drop.stop();
  };
}

/** Trigger by function → the endings of names that it takes. */
function taken(functions, bucket) {
  const found = {};
  for (const one of functions) {
    for (const trigger of one.triggers) {
      if (trigger.bucket === bucket) found[one.name] = [...(found[one.name] ?? []), ...(trigger.suffix ?? [])];
    }
  }
  return found;
}

function triggerTable({ triggers, takes }, bucket) {
  const mine = triggers.filter((one) => one.bucket === bucket);
  if (!mine.length) {
    return h("p.none", "No function watches a bucket. Add a trigger in functions.yaml: ", h("code", "triggers: [{bucket: documents}]"));
  }
  const rows = mine.map((one) => row(one.name, TRIGGERS,
    [toFunction(one.function), one.paused && [" ", tag("paused", "warn")]],
    [h("code", `${one.prefix}*`), " ", (takes[one.function] ?? []).join(" "), one.index && [" → index ", h("a", { href: link("/index", { index: one.index }) }, one.index)]],
    one.source ? state(`${one.source.kind}, ${one.source.standing}`, one.source.standing === "silent" ? "failed" : "good") : state("nobody", "failed"),
    count(one.states.done), count(one.states.pending),
    one.states.dead ? h("span.bad", count(one.states.dead)) : "0",
    one.listing ? when(one.listing.ended) : "not yet"));
  return [mine.map(losses), table("Triggers", TRIGGERS, rows)];
}

/** A bucket that is suddenly almost empty: its documents stay in the index until somebody says that it is meant. */
function losses({ held, bucket, name }) {
  if (!held || held.confirmed) return null;
  const box = problemBox(`${count(held.count)} of ${count(held.known)} objects are suddenly gone from ${bucket}. They stay in the index until you say that it is meant.`,
    button("They were removed on purpose", async () => {
      await post(`/admin/buckets/${encodeURIComponent(bucket)}/confirm`);
      toast("The next listing takes them out.");
    }, { style: "danger" }));
  box.dataset.key = `held-${name}`;
  return box;
}

function documentTable({ documents, cursor }, follow, again) {
  const found = [...documents].sort((one, other) => (other.processed_at ?? Infinity) - (one.processed_at ?? Infinity));
  const rows = found.map((one) => row(`${one.trigger}/${one.bucket}/${one.key}`, DOCUMENTS,
    h("a", { href: `/buckets/${pathOf(one.bucket, one.key)}`, download: true }, breakable(one.key)),
    [state(one.status, TONES[one.status] ?? ""), " ", one.invocation && h("a.soft", { href: link(`/invocations/${one.invocation}`) }, "the call"), one.reason && h("p.bad", one.reason), ...one.notes.map((note) => h("p.soft", note))],
    one.size === null ? "–" : bytes(one.size),
    when(one.processed_at),
    one.status !== "removed" && button("Remove", () => drop(one, again), { style: "danger", label: `Remove ${one.key}` })));
  return [
    table("Documents", DOCUMENTS, rows, "There are no such documents."),
    h("div.controls.under", { hidden: !cursor }, button("Show others", () => follow(cursor)), button("From the beginning", () => follow(null))),
  ];
}

async function drop(one, again) {
  if (!(await confirm(`Remove ${one.key}?`, `It is deleted from the bucket ${one.bucket}, and soon after from the index.`, "Remove it"))) return;
  await remove(`/buckets/${pathOf(one.bucket, one.key)}`);
  toast(`${one.key} was removed.`);
  await again();
}
