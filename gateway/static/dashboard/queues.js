// #/queues: what waits, how late it is, how much gets done, and who works.

import { get, post } from "./api.js";
import { h } from "./dom.js";
import { count, duration } from "./format.js";
import { live } from "./live.js";
import { newest, steps, together, total } from "./series.js";
import { button, card, confirm, heading, row, state, table, tag, toast, toInvocation, when } from "./ui.js";

export const title = "Queues";

const MINUTES = 30;
const LATELY = 6; // of the history's numbers: the last minute
const QUEUES = [
  ["Queue"],
  ["Waiting", "number"],
  ["Oldest waits", "number"],
  ["Running", "number"],
  ["At gates", "number wide"],
  ["Ended a minute", "number"],
  [`Waiting, last ${MINUTES} min`, "trend wide"],
  ["Actions", "act"],
];
const WORKERS = [
  ["Worker"],
  ["Queue", "wide"],
  ["Pool", "wide"],
  ["Busy", "number"],
  ["Received", "number wide"],
  ["Up since", "number wide"],
  ["Runs now", "grow"],
];

export function mount(el) {
  const page = h("div.view");
  el.append(
    heading(
      "Queues and workers",
      "Calls of one priority leave a queue in the order in which they came; priority 9 leaves first.",
    ),
    page,
  );
  const turn = live(page, 2000, load, (told) => [
    told.problems.length > 0 &&
      h(
        "div.problem",
        { role: "alert" },
        h(
          "ul",
          told.problems.map((one) => h("li", one)),
        ),
      ),
    card(
      "queues",
      "Queues",
      table(
        "Queues",
        QUEUES,
        told.queues.map((one) => queue(one, told, turn)),
      ),
    ),
    card("workers", "Workers", table("Workers", WORKERS, told.workers.map(worker), "No worker is alive.")),
  ]);
  return turn.stop;
}

async function load(signal) {
  const [queues, workers, history, deployed, health] = await Promise.all([
    get("/api/v1/tasks/queue/stats", {}, { signal }),
    get("/api/v1/tasks/workers/stats", {}, { signal }),
    get("/api/v1/tasks/history", { minutes: MINUTES }, { signal }),
    get("/functions", {}, { signal }),
    get("/api/v1/tasks/health", {}, { signal, allow: [503] }),
  ]);
  return {
    queues: queues.queues,
    workers: workers.workers,
    history,
    functions: deployed.functions,
    problems: health.problems ?? [],
  };
}

function queue(one, { history, functions }, turn) {
  const past = history.queues[one.queue];
  const trend = past?.queued ?? [];
  const act = async (path, body, text) => {
    await post(path, body);
    toast(text);
    await turn.now();
  };
  const purge = async () => {
    const yes = await confirm(
      `Empty the queue ${one.queue}?`,
      `${count(one.queued + one.parked)} calls that wait are cancelled. That cannot be taken back; what runs goes on.`,
      "Cancel what waits",
    );
    if (yes)
      await act(
        `/api/v1/tasks/queue/${encodeURIComponent(one.queue)}/purge`,
        {},
        `What waited in ${one.queue} was cancelled.`,
      );
  };
  const waits = Object.entries(one.by_priority)
    .map(([priority, number]) => `${number} of priority ${priority}`)
    .join(", ");
  return row(
    one.queue,
    QUEUES,
    h("div.named", one.queue, one.paused && tag("paused", "warn"), !one.workers.length && (one.scale_to_zero ? tag("scaled to zero") : tag("no worker", "bad"))),
    h("span", { title: waits || null }, count(one.queued)),
    one.oldest_seconds === null ? "–" : duration(one.oldest_seconds),
    count(one.running),
    count(one.parked),
    rate(one.queue, functions, history),
    steps(
      [trend],
      `Calls that waited in ${one.queue}: ${newest(trend) ?? 0} now, ${Math.max(0, ...trend)} at most in ${MINUTES} minutes.`,
    ),
    [
      one.queued + one.parked > 0 && button("Empty", purge, { style: "danger", label: `Empty the queue ${one.queue}` }),
      button(
        one.paused ? "Resume" : "Pause",
        () =>
          act(
            one.paused ? "/admin/resume" : "/admin/pause",
            { kind: "queue", name: one.queue },
            one.paused ? `${one.queue} goes on.` : `${one.queue} rests: what is accepted waits.`,
          ),
        { label: `${one.paused ? "Resume" : "Pause"} the queue ${one.queue}` },
      ),
    ],
  );
}

/** How many calls of a queue's functions ended in the last minute that was measured. */
function rate(queue, functions, history) {
  const own = functions
    .filter((one) => one.queue === queue)
    .map((one) => history.functions[one.name])
    .filter(Boolean);
  const ended = together(
    own.flatMap((one) => [one.succeeded, one.failed]),
    history.count,
  );
  return count(total(ended.slice(-LATELY)));
}

function worker(one) {
  return row(
    one.worker,
    WORKERS,
    state(one.worker, one.ready ? "succeeded" : "waiting"),
    one.queue,
    one.pool,
    `${one.running} of ${one.concurrency}`,
    count(one.held),
    when(one.since),
    [
      one.tasks.slice(0, 4).map((id) => [toInvocation(id), " "]),
      one.tasks.length > 4 && `and ${one.tasks.length - 4} more`,
      !one.tasks.length && h("span.soft", one.detail || "idle"),
    ],
  );
}
