// The recorded calls, the newest first: loaded page by page, and kept fresh at the top and where somebody looks.

import { get } from "./api.js";

const PAGE = 200;
const TOP = 100;
const MOST_EMPTY = 20;
const ENDS = ["succeeded", "failed", "dead", "cancelled", "expired"];

/**
 * The calls that `filters` name: { items, more(), fresh(range, hold), begun, done, behind }. `begun`: something was
 * loaded; `done`: nothing is left to load; `behind`: there are new calls that are not shown. `signal` ends the loading.
 */
export function feed(filters, signal) {
  const byEnd = ENDS.includes(filters.state) && !filters.root;
  const order = (one) => (byEnd ? one.ended : one.created);
  const ask = (more) => get("/api/v1/tasks", { ...filters, ...more }, { signal });
  const self = { items: [], begun: false, done: false, behind: false, more, fresh };
  let cursor = null;
  let loading = null;

  /** The next page. A page that had to look at too many calls may be empty: then the one after it. */
  function more() {
    if (self.done) return Promise.resolve();
    loading ??= load().finally(() => (loading = null));
    return loading;
  }

  async function load() {
    for (let tries = 0; tries < MOST_EMPTY; tries += 1) {
      const asked = cursor;
      const page = await ask({ cursor, limit: PAGE });
      if (asked !== cursor) return; // the list began anew meanwhile
      const known = new Set(self.items.map((one) => one.task_id));
      self.items = [...self.items, ...page.tasks.filter((one) => !known.has(one.task_id))];
      cursor = page.cursor;
      self.done = cursor === null;
      if (page.tasks.length || self.done) return;
    }
  }

  /** Ask again for the top and for the rows of `range`. `hold`: somebody reads; what cannot be joined waits. */
  async function fresh([first, last], hold) {
    const page = await ask({ limit: TOP });
    const there = new Set(page.tasks.map((one) => one.task_id));
    const barren = self.begun && !page.tasks.length && page.cursor !== null;
    const joins = page.cursor === null || self.items.some((one) => there.has(one.task_id));
    if (joins) splice(page, Infinity);
    else if (hold && self.items.length) self.behind = true;
    else if (!barren) begin(page);
    const seen = self.items.slice(first, last);
    if (first < TOP || seen.every((one) => one.ready)) return;
    splice(await ask({ until: order(seen[0]), limit: seen.length }), order(seen[0]));
  }

  function begin(page) {
    Object.assign(self, { items: page.tasks, done: page.cursor === null, behind: false, begun: true });
    cursor = page.cursor;
  }

  /** Put a page in the place of all that lies between `from` and its own end. */
  function splice(page, from) {
    const end = page.cursor === null ? -Infinity : (order(page.tasks.at(-1) ?? {}) ?? from);
    const there = new Set(page.tasks.map((one) => one.task_id));
    const rest = self.items.filter((one) => !there.has(one.task_id));
    self.items = [
      ...rest.filter((one) => order(one) > from),
      ...page.tasks,
      ...rest.filter((one) => order(one) <= from && order(one) <= end),
    ];
    if (from !== Infinity) return;
    Object.assign(self, { behind: false, begun: true });
    if (page.cursor === null) [self.done, cursor] = [true, null];
  }

  return self;
}
