// Lists of numbers over time (`/api/v1/tasks/history`), and how they are drawn. null is "not measured".

import { h, svg } from "./dom.js";

/** A history from its first number on, with at least `least` places: a young system has a short past, not an empty one. */
export function begun(history, least) {
  const places = Object.values(history.queues).map((one) => one.queued.findIndex((value) => value !== null));
  const first = Math.min(history.count, ...places.filter((place) => place >= 0));
  const from = Math.max(0, Math.min(first, history.count - least));
  const cut = (value) => {
    if (Array.isArray(value)) return value.slice(from);
    return value && typeof value === "object" ? Object.fromEntries(Object.entries(value).map(([name, one]) => [name, cut(one)])) : value;
  };
  return { ...cut(history), count: history.count - from, since: history.since + from * history.every };
}

/** Groups of `by` neighbours as one number each: all of them together, or the highest. */
export function sums(values, by) {
  return grouped(values, by, (known) => known.reduce((one, other) => one + other, 0));
}

export function peaks(values, by) {
  return grouped(values, by, (known) => Math.max(...known));
}

function grouped(values, by, reduce) {
  const found = [];
  for (let at = 0; at < values.length; at += by) {
    const known = values.slice(at, at + by).filter((value) => value !== null);
    found.push(known.length ? reduce(known) : null);
  }
  return found;
}

/** All lists as one: what each of them has at a place, added up. */
export function together(lists, count) {
  return Array.from({ length: count }, (_, at) => {
    const known = lists.map((values) => values[at]).filter((value) => value !== null);
    return known.length ? known.reduce((one, other) => one + other, 0) : null;
  });
}

export function total(values) {
  return values.reduce((one, other) => one + (other ?? 0), 0);
}

/** The newest number that was measured. */
export function newest(values) {
  return values.findLast((value) => value !== null) ?? null;
}

/** The middle of the numbers at each place, each counted as often as `weights` says. */
export function middle(values, weights) {
  const known = values.map((value, at) => [value, weights[at] ?? 0]).filter(([value, weight]) => value !== null && weight > 0);
  known.sort(([one], [other]) => one - other);
  let left = total(known.map(([, weight]) => weight)) / 2;
  return known.find(([, weight]) => (left -= weight) <= 0)?.[0] ?? null;
}

const WIDTH = 180;
const HEIGHT = 40;

/** Bars, the failed ones on top of the others in their own colour. `label` says it to who cannot see it. */
export function bars(well, failed, label, style = "") {
  const top = Math.max(1, ...well.map((value, at) => (value ?? 0) + (failed[at] ?? 0)));
  const step = WIDTH / Math.max(1, well.length);
  const bar = (at, from, size) => {
    const high = (size / top) * HEIGHT;
    return `M${(at * step).toFixed(2)},${(HEIGHT - (from / top) * HEIGHT).toFixed(2)}v${(-high).toFixed(2)}h${(step * 0.75).toFixed(2)}v${high.toFixed(2)}z`;
  };
  return chart(label, `bars ${style}`, [
    svg("path", { class: "well", d: well.map((value, at) => (value ? bar(at, 0, value) : "")).join("") || "M0,0" }),
    svg("path", { class: "ill", d: failed.map((value, at) => (value ? bar(at, well[at] ?? 0, value) : "")).join("") || "M0,0" }),
  ]);
}

/** Steps: each number holds for its time, so one that stands alone can be seen. Several lists share the height. */
export function steps(lists, label, style = "") {
  const top = Math.max(1e-9, ...lists.flat().map((value) => value ?? 0));
  return chart(label, `steps ${style}`, lists.map((values) => svg("path", { d: stepped(values, top) || "M0,0" })));
}

function stepped(values, top) {
  const step = WIDTH / Math.max(1, values.length);
  return values.map((value, at) => {
    if (value === null) return "";
    const y = (HEIGHT - 1 - (value / top) * (HEIGHT - 2)).toFixed(2);
    const lead = at > 0 && values[at - 1] !== null ? `V${y}` : `M${(at * step).toFixed(2)},${y}`;
    return `${lead}H${((at + 1) * step).toFixed(2)}`;
  }).join("");
}

function chart(label, style, paths) {
  const attributes = { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": label };
  return svg("svg", { class: `chart ${style}`, ...attributes }, paths);
}

/** A number in words, and its picture under it. */
export function figure(title, value, note, picture) {
  return h("div.figure", h("h3", title), h("p.value", value, note && h("span.soft", ` ${note}`)), picture);
}
