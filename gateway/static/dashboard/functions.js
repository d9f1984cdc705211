// #/functions: what is deployed.

import { get } from "./api.js";
import { h } from "./dom.js";
import { count } from "./format.js";
import { live } from "./live.js";
import { heading, row, table, tag, toFunction } from "./ui.js";

export const title = "Functions";

const COLUMNS = [
  ["Function", "grow"],
  ["Queue", "wide"],
  ["Called by", "wide word"],
  ["Succeeded", "number"],
  ["Went wrong", "number"],
];
const WRONG = ["failed", "dead", "expired"];

export function mount(el) {
  const list = h("section.card", { "aria-label": "Functions" });
  el.append(heading("Functions", "Everything that functions.yaml declares. Choose one to call it."), list);
  const load = async (signal) => {
    const [told, summary] = await Promise.all([
      get("/functions", {}, { signal }),
      get("/api/v1/tasks/summary", {}, { signal }),
    ]);
    return { functions: told.functions, totals: summary.totals };
  };
  return live(list, 5000, load, ({ functions, totals }) =>
    table(
      "Functions",
      COLUMNS,
      functions.map((one) => line(one, totals[one.name] ?? {})),
      "functions.yaml declares no functions.",
    ),
  ).stop;
}

function line(one, totals) {
  const wrong = WRONG.reduce((sum, state) => sum + (totals[state] ?? 0), 0);
  const name = h(
    "div.named",
    toFunction(one.name),
    one.paused && tag("paused", "warn"),
    one.error && tag("does not load", "bad"),
    h("p.soft", one.error ? one.error : one.summary),
  );
  return row(one.name, COLUMNS, name, one.queue, triggers(one), count(totals.succeeded ?? 0), count(wrong));
}

/** "http, cron, bucket" of a function, each once. */
export function triggers(one) {
  const kinds = one.triggers.map(
    (trigger) => ["http", "cron", "every", "bucket"].find((kind) => kind in trigger) ?? "other",
  );
  return [...new Set(kinds)].join(", ") || "nothing";
}
