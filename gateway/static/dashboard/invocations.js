// #/invocations?function&state&text&root: every recorded call, live.

import { get } from "./api.js";
import { draw, h } from "./dom.js";
import { feed } from "./feed.js";
import { count, duration, howFar } from "./format.js";
import { go, keepQuery } from "./router.js";
import { choice, fail, heading, state, toInvocation, when } from "./ui.js";
import { virtual } from "./virtual.js";

export const title = "Invocations";

const LIVE_MS = 1500;
const SEARCH_MS = 5000;
const TYPING_MS = 300;
const AHEAD = 60;
const STATES = [
  "accepted",
  "queued",
  "running",
  "waiting",
  "retrying",
  "succeeded",
  "failed",
  "dead",
  "cancelled",
  "expired",
];
const COLUMNS = [
  ["State", "s"],
  ["Function", "f"],
  ["Message", "t"],
  ["Trigger", "w"],
  ["Tries", "n"],
  ["Took", "d"],
  ["When", "c"],
  ["Call", "i"],
];
const ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

export function mount(el, { query }) {
  const filters = Object.fromEntries(
    ["function", "state", "text", "root"].map((name) => [name, query.get(name) ?? ""]),
  );
  const phone = matchMedia("(max-width: 47.9rem)");
  const list = virtual("Invocations", COLUMNS, {
    height: phone.matches ? 56 : 34,
    make: cells,
    key: (one) => one.task_id,
    near,
  });
  const said = h("p.soft", { role: "status" });
  const jump = h("button.jump", { type: "button", hidden: true, onclick: up }, "New calls at the top");
  let calls;
  let turn = new AbortController();
  let timer = 0;
  let paused = false;
  let typing = 0;

  const functions = h("span");
  const text = h("input", {
    type: "search",
    value: filters.text,
    placeholder: "Error, ID or trigger",
    "aria-label": "Text",
    oninput: () => {
      clearTimeout(typing);
      typing = setTimeout(
        () =>
          ID.test(text.value.trim()) ? go(`/invocations/${text.value.trim()}`) : chosen("text", text.value.trim()),
        TYPING_MS,
      );
    },
  });
  const stop = h(
    "button",
    {
      type: "button",
      "aria-pressed": "true",
      onclick: () => {
        paused = !paused;
        stop.setAttribute("aria-pressed", String(!paused));
        if (!paused) tick();
      },
    },
    "Live",
  );
  const family = h(
    "p.note",
    filters.root && [
      "Only what came of ",
      toInvocation(filters.root),
      ". ",
      h("a", { href: "#/invocations" }, "Show all calls"),
    ],
  );
  family.hidden = !filters.root;

  el.classList.add("full");
  el.append(
    heading(
      "Invocations",
      null,
      functions,
      choice([["", "Every state"], ...STATES], {
        value: filters.state,
        label: "State",
        onchange: (event) => chosen("state", event.target.value),
      }),
      text,
      stop,
    ),
    family,
    h("div.card.list", list.node, jump),
    said,
  );

  get("/functions").then((told) => {
    const names = told.functions.map((one) => one.name);
    if (filters.function && !names.includes(filters.function)) names.push(filters.function);
    draw(
      functions,
      choice([["", "Every function"], ...names], {
        value: filters.function,
        label: "Function",
        onchange: (event) => chosen("function", event.target.value),
      }),
    );
  }, fail);

  function chosen(name, value) {
    filters[name] = value;
    keepQuery(filters);
    begin();
  }

  function begin() {
    turn.abort();
    turn = new AbortController();
    calls = feed(filters, turn.signal);
    list.node.setAttribute("aria-busy", "true");
    list.top();
    tick();
  }

  async function tick() {
    clearTimeout(timer);
    const { signal } = turn;
    try {
      if (!document.hidden) {
        await calls.fresh(list.range(), list.scrolled());
        show();
      }
    } catch (error) {
      if (error.name === "AbortError") return;
      if (error.status !== 0) fail(error);
    } finally {
      if (!signal.aborted && !paused) timer = setTimeout(tick, filters.text ? SEARCH_MS : LIVE_MS);
    }
  }

  function show() {
    list.draw(calls.items);
    list.node.removeAttribute("aria-busy");
    jump.hidden = !calls.behind;
    const number = calls.items.length;
    const words = number
      ? `${count(number)}${calls.done ? "" : " or more"} ${number === 1 ? "call" : "calls"}`
      : calls.done
        ? "No call fits."
        : "None yet; older ones are looked at …";
    if (said.textContent !== words) said.textContent = words;
  }

  function near(last) {
    if (calls?.begun && !calls.done && last + AHEAD > calls.items.length) {
      const mine = calls;
      mine.more().then(
        () => mine === calls && show(),
        (error) => error.name !== "AbortError" && error.status !== 0 && fail(error),
      );
    }
  }

  function up() {
    list.top();
    begin();
  }

  begin();
  return () => {
    turn.abort();
    clearTimeout(timer);
    clearTimeout(typing);
    list.stop();
  };
}

function cells(one) {
  const told = one.error && one.state !== "succeeded" ? one.error : (one.reason ?? far(one));
  return [
    state(one.stopping ? "stopping" : one.state, one.state),
    h("a.cover", { href: `#/invocations/${one.task_id}`, "aria-label": `${one.function}, ${one.state}` }, one.function),
    h("span", { title: told || null }, told),
    one.trigger,
    one.attempts > 1 ? String(one.attempts) : "",
    one.duration_seconds === null ? "" : duration(one.duration_seconds),
    when(one.created),
    h("span.id", one.task_id.slice(0, 8)),
  ];
}

function far(one) {
  const at = one.ready ? null : one.progress;
  if (one.waits && !(at && one.waits === "children")) return `waits: ${one.waits}`;
  return at ? howFar(at) : "";
}
