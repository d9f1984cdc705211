// #/invocations/ID: one call, live: its output and end, its arguments, where it came from and what came of it.

import { get, post } from "./api.js";
import { draw, h } from "./dom.js";
import { brief, count, duration, moment } from "./format.js";
import { live } from "./live.js";
import { go, link } from "./router.js";
import { button, card, heading, state, tag, toFunction, toInvocation, toast, trouble, when } from "./ui.js";
import { tree } from "./tree.js";
import { watch } from "./watch.js";

export const title = ({ id }) => `Call ${brief(id)}`;

const MOST_TEXT = 50_000;
const DEAD = ["dead", "failed", "expired"];

export function mount(el, { id }) {
  const page = h("div.view");
  const output = h("div.view.tight", { "data-own": true });
  el.append(page);
  draw(page, heading(brief(id)));
  let stop = null;
  let one = null;
  let given = null;

  const path = `/api/v1/tasks/task/${encodeURIComponent(id)}`;
  // Arguments and result may be large: they are asked for once.
  const load = async (signal) => {
    if (!one?.ready) one = await get(path, one ? {} : { arguments: 1 }, { signal });
    given ??= typed(one.arguments);
    return get("/api/v1/tasks", { root: one.root_id, limit: 200 }, { signal });
  };
  const turn = live(
    page,
    2000,
    load,
    (family) => {
      stop ??= watch(output, id, { named: false, ended: () => turn.now() });
      return [
        heading([one.function, " ", h("span.id.soft", { title: id }, brief(id))], null, actions(one)),
        h(
          "div.columns.uneven",
          h(
            "div.view",
            card("output", "What happened", output, h("p.under", h("a", { href: `${path}/logs` }, "Output as text"))),
            family.tasks.length > 1 && card("family", "What belongs together", tree(family, id)),
          ),
          h("div.view", card("facts", "Facts", facts(one)), card("arguments", "Arguments", given)),
        ),
      ];
    },
    (error) => [heading(brief(id)), trouble(error)],
  );

  function actions(one) {
    return [
      one.ready &&
        button("Call again", async () => {
          const made = await post(`${path}/retry`);
          toast(`Called again as ${brief(made.task_id)}.`);
          go(`/invocations/${made.task_id}`);
        }),
      DEAD.includes(one.state) &&
        button(
          "Redrive",
          async () => {
            const done = await post("/api/v1/tasks/dead/redrive", { ids: [id] });
            toast(
              done.count
                ? "It runs again under its own ID."
                : `It was not redriven: ${Object.values(done.skipped)[0] ?? "it has changed meanwhile"}`,
              done.count ? "" : "bad",
            );
            stop?.();
            [stop, one] = [null, null];
            await turn.now();
          },
          { style: "main" },
        ),
      h("a.button", { href: link(`/functions/${one.function}`) }, "The function"),
    ];
  }

  return () => {
    turn.stop();
    stop?.();
  };
}

function typed(values) {
  const text = JSON.stringify(values, null, 2);
  const more = text.length - MOST_TEXT;
  return h(
    "pre",
    { tabindex: "0", role: "region", "aria-label": "Arguments" },
    more > 0 ? `${text.slice(0, MOST_TEXT)}\n… and ${count(more)} characters more` : text,
  );
}

function facts(one) {
  const told = {
    State: [state(one.stopping ? "stopping" : one.state, one.state), " ", h("span.soft", one.status)],
    Function: toFunction(one.function),
    ID: h("span.id", one.task_id),
    Trigger: one.trigger,
    Queue: [one.queue, one.priority === null ? "" : `, priority ${one.priority}`],
    Attempts: one.attempts,
    Created: at(one.created),
    Queued: at(one.queued),
    Started: at(one.started),
    Ended: at(one.ended),
    Took: one.duration_seconds === null ? null : duration(one.duration_seconds),
    Due: at(one.ready ? null : one.due),
    Expires: at(one.ready ? null : one.expires),
    Worker: one.worker,
    Lost: one.lost ? `${one.lost} ${one.lost === 1 ? "time" : "times"}, and put back` : null,
    "Called by": one.parent_id && toInvocation(one.parent_id),
    Repeats: one.origin_id && toInvocation(one.origin_id),
    Callback: one.callback && [one.callback_url, " ", tag(one.callback.state)],
    Trace: one.traceparent && h("span.mono", one.traceparent),
  };
  return h(
    "dl.facts",
    Object.entries(told)
      .filter(([, value]) => value !== null && value !== undefined && value !== "")
      .map(([name, value]) => [h("dt", name), h("dd", value)]),
  );
}

function at(seconds) {
  return seconds ? [when(seconds, moment(seconds)), h("span.soft", " ", when(seconds))] : null;
}
