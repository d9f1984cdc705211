// What belongs together: a call with all that came of it, as a list in a list.

import { h } from "./dom.js";
import { duration } from "./format.js";
import { link } from "./router.js";
import { state, toInvocation } from "./ui.js";

const MOST = 25;

/** `family` is a page of GET /api/v1/tasks?root=…; `here` is the id that is looked at. */
export function tree({ tasks, cursor }, here) {
  const known = new Set(tasks.map((one) => one.task_id));
  const children = new Map();
  for (const one of [...tasks].reverse()) {
    const parent = known.has(one.parent_id) ? one.parent_id : null;
    children.set(parent, [...(children.get(parent) ?? []), one]);
  }
  const root = tasks[0].root_id;
  return h(
    "div",
    branch(children, null, here, root),
    cursor && h("p", h("a", { href: link("/invocations", { root }) }, "All calls of this family")),
  );
}

function branch(children, parent, here, root) {
  const all = children.get(parent) ?? [];
  const shown = all.filter((one, at) => at < MOST || one.task_id === here);
  return (
    all.length > 0 &&
    h(
      "ul.tree",
      shown.map((one) =>
        h(
          "li",
          { key: one.task_id, "aria-current": one.task_id === here ? "true" : null },
          h(
            "span.node",
            state(one.state),
            toInvocation(one.task_id, one.function),
            h("span.soft", one.duration_seconds === null ? "" : duration(one.duration_seconds)),
          ),
          branch(children, one.task_id, here, root),
        ),
      ),
      shown.length < all.length &&
        h("li", h("a", { href: link("/invocations", { root }) }, `and ${all.length - shown.length} more`)),
    )
  );
}
