// A call as it happens: its state, how far it is, what it puts out, and how it ended.

import { events, get, post } from "./api.js";
import { draw, h } from "./dom.js";
import { away, duration, howFar } from "./format.js";
import { problemBox, progress, state, toInvocation, trouble, button, fail } from "./ui.js";

const MOST_LINES = 2000;
const ENDS = ["succeeded", "failed", "dead", "cancelled", "expired"];
const WAITS = {
  delay: "its time",
  paused: "something that rests to go on",
  concurrency: "a free place",
  key: "another call with its key",
  rate: "its rate limit",
  circuit: "a broken circuit",
  children: "its children",
  gather: "others to go with",
  function: "its function, which functions.yaml lacks",
  broker: "the broker",
};

/** Show the call `id` in `place` until its end. Returns stop(). `ended(told)` hears the last state. */
export function watch(place, id, { named = true, ended = () => {} } = {}) {
  const told = {};
  const output = h("pre.output", { "data-own": true, tabindex: "0", role: "log", "aria-label": "Output" });
  const items = h("pre.output", { "data-own": true, tabindex: "0", role: "log", "aria-label": "Items" });
  let asked = 0;

  const redraw = () => {
    asked ||= requestAnimationFrame(() => {
      asked = 0;
      draw(place, show(id, told, output, items, named));
    });
  };

  /** One more line at the end; who has scrolled up reads on undisturbed. */
  const put = (list, stream, text) => {
    const low = list.scrollHeight - list.scrollTop - list.clientHeight < 30;
    list.append(h("span", { "data-stream": stream }, `${text}\n`));
    if (list.childNodes.length > MOST_LINES) list.firstChild.remove();
    if (low) list.scrollTop = list.scrollHeight;
    if (list.childNodes.length === 1) redraw();
  };

  const stop = events(`/api/v1/tasks/task/${id}/events`, {
    state(data) {
      told.state = data;
      redraw();
      if (!ENDS.includes(data.state)) return;
      stop();
      ended(data);
    },
    progress(data) {
      told.progress = data;
      redraw();
    },
    item: (data) => put(items, "item", JSON.stringify(data.item)),
    log: (line) =>
      put(output, line.stream, `${line.level && line.level !== "INFO" ? `${line.level} ` : ""}${line.text}`),
    error(error) {
      told.problem = error;
      redraw();
    },
  });
  redraw();
  return () => {
    stop();
    cancelAnimationFrame(asked);
  };
}

function show(id, told, output, items, named) {
  const now = told.state;
  if (told.problem) return [trouble(told.problem)];
  if (!now) return [h("p.soft", "Waiting for the first news …")];
  const over = ENDS.includes(now.state);
  const far = told.progress;
  return [
    h(
      "div.controls.line",
      { "aria-live": "polite" },
      state(now.state),
      h("span.soft", story(now)),
      named && h("span.push", toInvocation(id, "Details")),
      !over && button("Cancel", () => cancel(id), { style: "danger" }),
    ),
    far &&
      h(
        "div.far",
        !over && progress("Progress", far.done, far.total),
        h("p.soft", howFar(far)),
      ),
    output.childNodes.length > 0 && output,
    items.childNodes.length > 0 && [h("h3", "Items"), items],
    // The result of a generator is the list of its items.
    over && !(now.state === "succeeded" && items.childNodes.length) && end(now),
  ];
}

/** How long, how often, and what it waits for. */
function story(now) {
  const parts = [];
  if (now.attempt > 1) parts.push(`attempt ${now.attempt}`);
  if (now.waits) parts.push(`waits for ${WAITS[now.waits] ?? now.waits}`);
  if (now.due) parts.push(`due ${away(now.due)}`);
  if (now.duration_seconds != null) parts.push(`after ${duration(now.duration_seconds)}`);
  if (now.state === "retrying" && now.error) parts.push(now.error);
  return parts.join(" · ");
}

function end(now) {
  if (now.state === "succeeded") {
    if (now.result_url)
      return h(
        "p",
        h("a", { href: now.result_url, target: "_blank" }, "Open the result"),
        ", which is a file or large.",
      );
    return h(
      "div",
      h("h3", "Result"),
      h("pre.result", { tabindex: "0", role: "region", "aria-label": "Result" }, JSON.stringify(now.result, null, 2)),
    );
  }
  if (now.state === "cancelled") return h("p.soft", now.reason ? `Cancelled: ${now.reason}` : "Cancelled.");
  return problemBox(
    now.error ?? `It ended as ${now.state}.`,
    now.error_type && now.error_type !== "InvalidArguments" && traceback(now.task_id),
  );
}

/** The traceback is asked for when somebody wants to see it. */
function traceback(id) {
  const text = h("pre", { "data-own": true });
  const load = async (event) => {
    if (!event.currentTarget.open || text.textContent) return;
    try {
      const told = await get(`/api/v1/tasks/task/${id}`, { traceback: 1 });
      text.textContent = told.traceback || "None was kept.";
    } catch (error) {
      fail(error);
    }
  };
  return h("details", { ontoggle: load }, h("summary", "Traceback"), text);
}

async function cancel(id) {
  await post(`/api/v1/tasks/task/${id}/revoke`, { reason: "cancelled in the dashboard" });
}
