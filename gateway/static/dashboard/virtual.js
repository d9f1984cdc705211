// A long list of which only the rows that can be seen exist. Rows have one height; arrows walk from row to row.

import { draw, h } from "./dom.js";

const BEYOND = 8;

/**
 * { node, draw(items), top(), range() }. `make(item)` gives a row's cells; `columns` are its heads. `near(end)` is
 * called with the number of the last row that is shown, so that more can be loaded; `height` is a row's, in pixels.
 */
export function virtual(label, columns, { height, make, key, near }) {
  const rows = h("div.rows", { role: "rowgroup" });
  const space = h("div.space", { role: "presentation" }, rows);
  const head = h(
    "div.row.heads",
    { role: "row", "aria-rowindex": "1" },
    columns.map(([title, style = ""]) => h("span", { role: "columnheader", class: style }, title)),
  );
  const node = h(
    "div.virtual",
    { role: "table", "aria-label": label, tabindex: "0", "data-own": true, onkeydown: walk, onscroll: () => plan() },
    h("div.top", { role: "rowgroup" }, head),
    space,
  );
  const sized = new ResizeObserver(() => plan());
  sized.observe(node);
  let items = [];
  let planned = 0;

  function range() {
    const first = Math.max(0, Math.floor(node.scrollTop / height) - BEYOND);
    return [first, Math.min(items.length, Math.ceil((node.scrollTop + node.clientHeight) / height) + BEYOND)];
  }

  function plan() {
    planned ||= requestAnimationFrame(() => {
      planned = 0;
      paint();
    });
  }

  function paint() {
    const [first, last] = range();
    const focused = rows.contains(document.activeElement);
    space.style.height = `${items.length * height}px`;
    rows.style.transform = `translateY(${first * height}px)`;
    node.setAttribute("aria-rowcount", String(items.length + 1));
    draw(
      rows,
      items.slice(first, last).map((item, at) =>
        h(
          "div.row",
          { role: "row", "aria-rowindex": String(first + at + 2), key: key(item) },
          make(item).map((cell, column) => h("span", { role: "cell", class: columns[column][1] ?? "" }, cell)),
        ),
      ),
    );
    // The row that had the focus is out of sight: the keyboard goes on from the list itself.
    if (focused && !rows.contains(document.activeElement)) node.focus({ preventScroll: true });
    near(last);
  }

  const above = () => head.offsetHeight;

  function walk(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const own = document.activeElement?.closest?.(".row[data-key]");
    const at = own
      ? items.findIndex((item) => key(item) === own.dataset.key) + step
      : Math.floor(node.scrollTop / height);
    const item = items[Math.max(0, Math.min(items.length - 1, at))];
    if (!item) return;
    const place = items.indexOf(item) * height;
    if (place < node.scrollTop) node.scrollTop = place;
    else if (place + height + above() > node.scrollTop + node.clientHeight)
      node.scrollTop = place + height + above() - node.clientHeight;
    paint();
    rows.querySelector(`[data-key="${CSS.escape(key(item))}"] a`)?.focus({ preventScroll: true });
  }

  return {
    node,
    range,
    /** Show other items. Where somebody has scrolled, what they look at stays where it is. */
    draw(fresh) {
      const [was, before] = [node.scrollTop, items[Math.floor(node.scrollTop / height)]];
      items = fresh;
      if (was > 0 && before) {
        const now = items.findIndex((item) => key(item) === key(before));
        space.style.height = `${items.length * height}px`;
        if (now >= 0) node.scrollTop = now * height + (was % height);
      }
      paint();
    },
    scrolled: () => node.scrollTop > 0,
    top() {
      node.scrollTop = 0;
      plan();
    },
    stop: () => sized.disconnect(),
  };
}
