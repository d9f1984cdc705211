// How the system is: what it did in the last half hour, what is not well, and what was saved last.

import { get } from "./api.js";
import { h } from "./dom.js";
import { bytes, count, duration, percent } from "./format.js";
import { live } from "./live.js";
import { link } from "./router.js";
import { bars, begun, figure, middle, newest, peaks, steps, sums, together, total } from "./series.js";
import * as tenants from "./tenants.js";
import { card, heading, problemBox, row, state, table, toFunction, toInvocation, when } from "./ui.js";

export const title = "Overview";

const EVERY_MS = 5000;
const MINUTES = 30;
const LEAST = 30; // places of a chart: five minutes
const MOST = 60;
const FAILURES = 6;
const FUNCTIONS = [["Function"], ["Calls over time", "trend wide"], ["Calls", "number"], ["Failed", "number"], ["Time taken", "trend wide"], ["Median", "number"], ["95 %", "number"]];
const QUEUES = [["Queue"], ["Waiting", "trend wide"], ["Waits", "number"], ["Runs", "number"], ["Oldest", "number"]];
const BROKEN = [["Function"], ["Why", "grow"], ["When", "number"]];
const INDEXES = [["Index"], ["Documents", "number"], ["Vectors", "number"], ["Size", "number wide"]];

/** Each card asks for itself: a store that is slow to answer must not hide the rest. One that shows null is hidden. */
const CARDS = [
  ["lately", "Calls", 1, loadHistory, (history) => [summary(history), functionTable(history)]],
  ["queues", "Queues", 2, loadQueues, queueTable],
  ["failures", "Newest failures", 2, loadFailures, failureTable],
  ["parts", "Parts", 2, loadParts, parts],
  ["indexes", "Index", 2, (signal) => get("/admin/index-version", {}, { signal }), indexTable],
  ["tenants", "Tenants, this month", 2, tenants.load, tenants.show],
];

export function mount(el) {
  const reload = h("div");
  const made = CARDS.map(([name, title, column, load, show]) => {
    const place = h("div.stack");
    const node = card(name, title, place);
    node.hidden = show === tenants.show; // until there are any
    const watch = live(place, EVERY_MS, load, (told) => {
      const shown = show(told);
      node.hidden = shown === null;
      return shown ?? [];
    });
    return { column, node, watch };
  });
  const saved = live(reload, EVERY_MS, (signal) => get("/admin/reload", {}, { signal }), (told) => (told.reload && !told.reload.ok ? unsaved(told.reload) : []));
  const column = (wanted) => made.filter((one) => one.column === wanted).map((one) => one.node);
  el.append(heading("Overview", "What the system did lately, and how it is."), reload, ...column(1), h("div.columns.pair", column(2)));
  return () => {
    saved.stop();
    for (const one of made) one.watch.stop();
  };
}

/** The history as far as there is one, with how many of its numbers a place of a chart stands for. */
async function loadHistory(signal) {
  const history = begun(await get("/api/v1/tasks/history", { minutes: MINUTES }, { signal }), LEAST);
  return { ...history, group: Math.ceil(history.count / MOST) };
}

async function loadQueues(signal) {
  const [{ queues }, history] = await Promise.all([get("/api/v1/tasks/queue/stats", {}, { signal }), loadHistory(signal)]);
  return { queues, history };
}

async function loadFailures(signal) {
  const ended = (state) => get("/api/v1/tasks", { state, limit: FAILURES }, { signal });
  const found = await Promise.all(["failed", "dead", "expired"].map(ended));
  return found.flatMap((one) => one.tasks).sort((one, other) => other.ended - one.ended).slice(0, FAILURES);
}

async function loadParts(signal) {
  const [ready, { reload }] = await Promise.all([
    get("/readyz", {}, { signal, allow: [503] }),
    get("/admin/reload", {}, { signal, allow: [503] }),
  ]);
  return { ready, reload };
}

/** The version before it goes on serving; nobody else would tell. */
function unsaved(reload) {
  const files = reload.files?.length ? `: ${reload.files.join(", ")}` : "";
  return problemBox([h("strong", "What was saved last is not used"), files, ". The version before it goes on serving. ", when(reload.at)], h("pre", reload.message));
}

function summary({ functions, queues, count: length, every, group }) {
  const works = Object.values(functions);
  const well = together(works.map((one) => one.succeeded), length);
  const failed = together(works.map((one) => one.failed), length);
  const waiting = together(Object.values(queues).map((one) => one.queued), length);
  const ended = total(well) + total(failed);
  const lately = total(well.slice(-6)) + total(failed.slice(-6));
  const slowest = peaks(peakOf(works.map((one) => one.wait.p95), length), group);
  return [h("p.soft", `In the last ${Math.round((length * every) / 60)} minutes`), h("div.figures",
    figure("Ended", count(ended), `${count(Math.round(lately * (60 / (6 * every))))} in the last minute`,
      bars(sums(well, group), sums(failed, group), `${count(ended)} calls ended, ${count(total(failed))} of them failed`, "tall")),
    figure("Failed", count(total(failed)), ended ? percent(total(failed) / ended) : null,
      bars(sums(failed.map(() => 0), group), sums(failed, group), `${count(total(failed))} calls failed`, "tall")),
    figure("Waiting", count(newest(waiting) ?? 0), `at most ${count(Math.max(0, ...waiting))}`,
      steps([peaks(waiting, group)], `At most ${count(Math.max(0, ...waiting))} calls waited`, "tall")),
    figure("Wait for a worker", duration(newest(slowest)), "95 % were faster",
      steps([slowest], `The newest wait: ${duration(newest(slowest))}`, "tall")),
  )];
}

/** The highest of several lists at each place. */
function peakOf(lists, length) {
  return Array.from({ length }, (_, at) => {
    const known = lists.map((values) => values[at]).filter((value) => value !== null);
    return known.length ? Math.max(...known) : null;
  });
}

function functionTable({ functions, group }) {
  const rows = Object.entries(functions).map(([name, { succeeded, failed, run }]) => {
    const [well, ill] = [sums(succeeded, group), sums(failed, group)];
    const ended = total(well) + total(ill);
    const [median, high] = [peaks(run.p50, group), peaks(run.p95, group)];
    const calls = succeeded.map((value, at) => (value ?? 0) + (failed[at] ?? 0));
    const [usual, slow] = [middle(run.p50, calls), middle(run.p95, calls)];
    return row(name, FUNCTIONS, toFunction(name),
      bars(well, ill, `${name}: ${count(ended)} calls`),
      count(ended),
      total(ill) ? h("a.bad", { href: link("/dead", { function: name }) }, count(total(ill))) : "0",
      steps([high, median], `${name} took ${duration(usual)}`),
      duration(usual),
      duration(slow));
  });
  return table("Functions that ran", FUNCTIONS, rows, "Nothing has run in this time.");
}

function queueTable({ queues, history }) {
  const rows = queues.map((one) => {
    const waited = history.queues[one.queue]?.queued ?? [];
    return row(one.queue, QUEUES, h("a", { href: link("/queues") }, one.queue),
      steps([peaks(waited, history.group)], `${one.queue}: at most ${count(Math.max(0, ...waited))} waited`),
      count(one.queued + one.parked), count(one.running), one.oldest_seconds === null ? "–" : duration(one.oldest_seconds));
  });
  return table("Queues", QUEUES, rows);
}

function failureTable(failures) {
  const rows = failures.map((one) =>
    row(one.task_id, BROKEN, toFunction(one.function),
      h("a.why", { href: toInvocation(one.task_id).getAttribute("href") }, one.error ?? one.state), when(one.ended)));
  return table("Newest failures", BROKEN, rows, "No call has failed, as far as is kept.");
}

function parts({ ready: { checks = {}, detail }, reload }) {
  const found = Object.entries(checks).sort(([, one], [, other]) => one.ready - other.ready);
  if (!found.length) return problemBox(detail ?? "The gateway does not say.");
  return [
    h("ul.parts", found.map(([name, one]) =>
      h("li", { key: name }, state(name, one.ready ? "good" : "bad"), !one.ready && h("span.bad", ` ${one.detail}`)))),
    reload?.ok && h("p.soft", "What was saved was taken ", when(reload.at), reload.message ? `: ${reload.message}` : "."),
  ];
}

function indexTable(version) {
  const { newest: found, index, trouble } = version;
  const rows = found ? [row(index, INDEXES, h("a", { href: link("/index") }, index), count(found.documents), count(found.vectors), bytes(found.bytes))] : [];
  return [trouble && problemBox(trouble), table("Indexes", INDEXES, rows, h("span", "Nothing is indexed yet: ", h("a", { href: link("/buckets") }, "drop a file"), "."))];
}
