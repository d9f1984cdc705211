// #/dead?function&error&state: calls that went wrong for good; run them again, or throw them away.

import { get, post } from "./api.js";
import { h } from "./dom.js";
import { count } from "./format.js";
import { live } from "./live.js";
import { keepQuery } from "./router.js";
import { button, choice, confirm, heading, row, table, toast, toInvocation, when } from "./ui.js";

export const title = "Dead letters";

const COLUMNS = [["Call"], ["Error", "grow"], ["Tries", "number wide"], ["Ended", "number"]];
const STATES = [
  ["dead", "Dead: retries are spent"],
  ["failed", "Failed: not retried"],
  ["expired", "Expired: not started in time"],
];
const PAGE = 100;
const TYPING_MS = 300;

export function mount(el, { query }) {
  const filters = {
    state: query.get("state") || "dead",
    function: query.get("function") ?? "",
    error: query.get("error") ?? "",
  };
  const chosen = new Set();
  const list = h("section.card", { "aria-label": "Dead letters" });
  let pages = 1;
  let typing = 0;
  let names = [];

  const change = (name, value) => {
    filters[name] = value;
    pages = 1;
    keepQuery(filters);
    turn.now();
  };
  const error = h("input", {
    type: "search",
    value: filters.error,
    placeholder: "Part of the error",
    "aria-label": "Error",
    oninput: () => {
      clearTimeout(typing);
      typing = setTimeout(() => change("error", error.value.trim()), TYPING_MS);
    },
  });
  const state = choice(STATES, {
    value: filters.state,
    label: "State",
    onchange: (event) => change("state", event.target.value),
  });
  el.append(
    heading(
      "Dead letters",
      "Calls that went wrong for good. Redriven, they run again under their own IDs, with all attempts before them.",
    ),
    list,
  );

  const turn = live(list, 3000, load, ({ letters, more }) => [
    h(
      "div.controls.bulk",
      state,
      choice([["", "Every function"], ...names], {
        value: filters.function,
        label: "Function",
        onchange: (event) => change("function", event.target.value),
      }),
      error,
    ),
    h(
      "div.controls.bulk",
      letters.length > 0 &&
        h(
          "label.check",
          h("input", {
            type: "checkbox",
            checked: chosen.size > 0 && chosen.size === letters.length,
            onchange: (event) => all(event.target.checked, letters),
          }),
          "All shown",
        ),
      h("span.push"),
      letters.length > 0 &&
        button(chosen.size ? `Redrive ${count(chosen.size)}` : "Redrive all", () => redrive(), { style: "main" }),
      letters.length > 0 &&
        button(chosen.size ? `Delete ${count(chosen.size)} …` : "Delete all …", () => purge(), { style: "danger" }),
    ),
    table("Dead letters", COLUMNS, letters.map(line), "No letters. That is how it should be."),
    more &&
      button("Show more", () => {
        pages += 1;
        return turn.now();
      }),
  ]);

  async function load(signal) {
    names = (await get("/functions", {}, { signal })).functions.map((one) => one.name);
    if (filters.function && !names.includes(filters.function)) names.push(filters.function);
    let [letters, cursor] = [[], ""];
    for (let page = 0; page < pages && cursor !== null; page += 1) {
      const found = await get("/api/v1/tasks/dead", { ...filters, cursor, limit: PAGE }, { signal });
      letters = letters.concat(found.tasks);
      cursor = found.cursor;
    }
    // What was chosen stays chosen as long as it is shown: the button says what it does, whenever a filter comes in.
    const there = new Set(letters.map((one) => one.task_id));
    for (const id of chosen) if (!there.has(id)) chosen.delete(id);
    return { letters, more: cursor !== null };
  }

  function line(one) {
    const choose = (event) => {
      if (event.target.checked) chosen.add(one.task_id);
      else chosen.delete(one.task_id);
      turn.now();
    };
    const box = h("input", {
      type: "checkbox",
      "aria-label": `Choose ${one.function} ${one.task_id.slice(0, 8)}`,
      checked: chosen.has(one.task_id),
      onchange: choose,
    });
    return row(
      one.task_id,
      COLUMNS,
      h("div.check", box, toInvocation(one.task_id, one.function)),
      one.error ?? one.state,
      one.attempts,
      when(one.ended),
    );
  }

  function all(yes, letters) {
    chosen.clear();
    if (yes) letters.forEach((one) => chosen.add(one.task_id));
    turn.now();
  }

  /** The chosen letters, or all that fit: a request takes a thousand, and the next one goes on with the same ones. */
  async function each(path) {
    const done = { count: 0, skipped: {} };
    const given = chosen.size
      ? { ids: [...chosen] }
      : Object.fromEntries(Object.entries(filters).filter(([, value]) => value));
    for (let more = true; more;) {
      const told = await post(path, given);
      done.count += told.count;
      Object.assign(done.skipped, told.skipped);
      more = told.more && told.count > 0;
      given.until = told.until;
    }
    chosen.clear();
    const left = Object.keys(done.skipped).length;
    await turn.now();
    return `${count(done.count)} ${done.count === 1 ? "letter" : "letters"}${left ? `, ${left} left out: ${Object.values(done.skipped)[0]}` : ""}`;
  }

  async function redrive() {
    if (
      !chosen.size &&
      !(await confirm(
        "Redrive all that fit?",
        "Every letter that fits the filters runs again, those that are not shown, too.",
        "Redrive all",
      ))
    )
      return;
    toast(`Redriven: ${await each("/api/v1/tasks/dead/redrive")}.`);
  }

  async function purge() {
    const what = chosen.size
      ? `${count(chosen.size)} ${chosen.size === 1 ? "letter" : "letters"}`
      : "All letters that fit";
    if (
      await confirm(
        "Delete for good?",
        `${what} will be deleted, with arguments and errors. That cannot be taken back.`,
        "Delete",
      )
    ) {
      toast(`Deleted: ${await each("/api/v1/tasks/dead/purge")}.`);
    }
  }

  return () => {
    turn.stop();
    clearTimeout(typing);
  };
}
