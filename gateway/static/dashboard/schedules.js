// #/schedules: what runs by the clock: when next, how it went last, and what rests.

import { get, post } from "./api.js";
import { h } from "./dom.js";
import { duration } from "./format.js";
import { live } from "./live.js";
import { button, card, heading, row, state, table, tag, toast, toFunction, toInvocation, when } from "./ui.js";

export const title = "Schedules";

const NEXT = 5;
const COLUMNS = [
  ["Function"],
  ["When"],
  ["Next run"],
  ["Last run"],
  ["Late by", "number wide"],
  ["Ran", "number wide"],
  ["Left out", "number wide"],
  ["Actions", "act"],
];

export function mount(el) {
  const list = h("div");
  el.append(
    heading("Schedules", "Times of a schedule's own zone; what daylight saving does to a run is said beside it."),
    list,
  );
  const turn = live(
    list,
    2000,
    (signal) => get("/admin/schedules", { next: NEXT }, { signal }),
    ({ schedules }) =>
      card(
        "schedules",
        "Schedules",
        table(
          "Schedules",
          COLUMNS,
          schedules.map((one) => line(one, turn)),
          "functions.yaml has no cron or every trigger.",
        ),
      ),
  );
  return turn.stop;
}

function line(one, turn) {
  const [first, ...later] = one.next;
  const act = async () => {
    await post(one.paused ? "/admin/resume" : "/admin/pause", { kind: "schedule", name: one.name });
    toast(one.paused ? `${one.function} runs by the clock again.` : `${one.function} rests; its runs are left out.`);
    await turn.now();
  };
  const rules = [
    one.overlap !== "allow" && `overlap: ${one.overlap}`,
    one.catch_up !== "0s" && `catches up ${one.catch_up}`,
    one.jitter !== "0s" && `jitter ${one.jitter}`,
  ].filter(Boolean);
  return row(
    one.name,
    COLUMNS,
    h("div.named", toFunction(one.function), one.paused && tag("paused", "warn"), h("p.soft.id", one.name)),
    [h("code.run", one.expression), h("p.soft", [one.timezone, ...rules].join(" · "))],
    first
      ? [
          run(first),
          later.length > 0 &&
            h(
              "details",
              h("summary.soft", "Then"),
              h(
                "ul",
                later.map((one) => h("li", run(one))),
              ),
            ),
        ]
      : "–",
    one.last
      ? [
          state(one.last.state ?? "gone"),
          " ",
          one.last.invocation && toInvocation(one.last.invocation),
          h("p.soft", when(Date.parse(one.last.tick) / 1000)),
        ]
      : "–",
    one.last?.lateness_seconds == null ? "–" : duration(one.last.lateness_seconds),
    one.ticks.submitted,
    one.ticks.skipped + one.ticks.missed,
    button(one.paused ? "Resume" : "Pause", act, {
      label: `${one.paused ? "Resume" : "Pause"} the schedule ${one.expression} of ${one.function}`,
    }),
  );
}

function run(one) {
  const at = Date.parse(one.at) / 1000;
  const [day, clock] = one.local.split("T");
  return [
    h("span.run", when(at, `${day} ${clock.slice(0, 8).replace(/:00$/, "")}`), h("span.soft", " ", when(at))),
    one.note && h("p.warn", one.note),
  ];
}
