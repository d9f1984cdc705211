// The shell: the way around, the colours, how the system is, and whether the gateway answers.

import { connection, get } from "./api.js";
import { draw, h } from "./dom.js";
import { count } from "./format.js";
import { start } from "./router.js";
import { follow } from "./saved.js";
import { state } from "./ui.js";

const STATUS_MS = 5000;
const side = document.getElementById("side");
const menu = document.getElementById("menu");
const main = document.getElementById("view");

function open(yes) {
  menu.setAttribute("aria-expanded", String(yes));
  side.classList.toggle("open", yes);
}

menu.addEventListener("click", () => open(menu.getAttribute("aria-expanded") !== "true"));
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && side.classList.contains("open")) {
    open(false);
    menu.focus();
  }
});
document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});

const theme = document.getElementById("theme");
theme.value = document.documentElement.dataset.theme ?? "";
theme.addEventListener("change", () => {
  if (theme.value) document.documentElement.dataset.theme = theme.value;
  else delete document.documentElement.dataset.theme;
  try {
    localStorage.setItem("tundish.theme", theme.value);
  } catch {
    // It holds for this page only.
  }
});

/** A line above the view that stays until it is null: what everybody should know, whatever they look at. */
const notices = new Map();
function notice(name, text, tone = "bad") {
  if (text === null) notices.delete(name);
  else notices.set(name, h("p.notice", { key: name, "data-tone": tone }, text));
  draw(document.getElementById("notices"), [...notices.values()]);
}
document.addEventListener("tundish:notice", ({ detail }) => notice(detail.name, detail.text, detail.tone));

connection.addEventListener("lost", () =>
  notice("connection", "The gateway does not answer. What is shown may be old; it goes on by itself."),
);
connection.addEventListener("back", () => notice("connection", null));

function current({ path }) {
  open(false);
  for (const one of side.querySelectorAll("nav a")) {
    const target = one.getAttribute("href").slice(1);
    const here = target === "/" ? path === "/" : path === target || path.startsWith(`${target}/`);
    if (here) one.setAttribute("aria-current", "page");
    else one.removeAttribute("aria-current");
  }
}

/** The foot of the navigation. Without the broker there is a sentence instead of problems: everybody should know. */
async function health() {
  const place = document.getElementById("health");
  try {
    const told = await get("/api/v1/tasks/health", {}, { allow: [503] });
    const problems = told.problems ?? [told.detail];
    const many = problems.length === 1 ? "1 problem" : `${problems.length} problems`;
    draw(place, problems.length ? state(many, "failed") : state("All is well", "succeeded"));
    place.title = problems.join("\n");
    notice("system", told.problems ? null : `${told.detail} What is shown may be old.`);
  } catch (error) {
    draw(place, state("Not known", "waiting"));
    throw error;
  }
}

/** The numbers in the navigation. */
async function numbers() {
  const told = await get("/api/v1/tasks/summary");
  number("running", told.waiting.running);
  number("dead", told.kept.dead);
}

/** Whose key it is, where one is needed, and the way out. */
async function identity() {
  const told = await get("/api/v1/whoami");
  const form = document.getElementById("who");
  form.hidden = !told.required;
  if (told.required) form.querySelector("span").textContent = `${told.name} (${told.role})`;
}

async function again(work) {
  try {
    if (!document.hidden) await work();
  } catch (error) {
    if (!("status" in error)) throw error;
  } finally {
    setTimeout(again, STATUS_MS, work);
  }
}

function number(name, value) {
  draw(side.querySelector(`[data-count=${name}]`), value ? [count(value), h("span.hidden", ` ${name}`)] : []);
}

start(main, current);
identity().catch((error) => {
  if (!("status" in error)) throw error;
});
again(health);
again(numbers);
follow();
