// The page works without this: it only saves reloading.
"use strict";

const form = document.getElementById("search");
const box = form.elements.q;
const results = document.getElementById("results");
let running = new AbortController();

form.addEventListener("submit", (event) => {
  event.preventDefault();
  search(box.value.trim());
});

async function search(words) {
  running.abort();
  running = new AbortController();
  history.replaceState(null, "", words ? `/?q=${encodeURIComponent(words)}` : "/");
  if (!words) {
    results.replaceChildren();
    return;
  }
  try {
    const answer = await fetch(`/search?q=${encodeURIComponent(words)}`, { signal: running.signal });
    const told = await answer.json();
    if (answer.ok) show(told);
    else results.replaceChildren(element("p", told.detail, "problem"));
  } catch (error) {
    if (error.name !== "AbortError") results.replaceChildren(element("p", "The gateway does not answer.", "problem"));
  }
}

function show(told) {
  if (!told.results.length) {
    results.replaceChildren(element("p", "Nothing was found."));
    return;
  }
  const list = document.createElement("ol");
  for (const hit of told.results) {
    const place = element("p", "", "place");
    place.append(element("b", hit.key), " ", element("span", hit.bucket), element("span", hit.score.toFixed(3), "score"));
    const item = document.createElement("li");
    item.append(place, element("p", hit.text.slice(0, 400)));
    list.append(item);
  }
  results.replaceChildren(list, element("p", `Index version ${told.version}, ${told.took_ms} ms`, "note"));
}

function element(name, text, style) {
  const made = document.createElement(name);
  made.textContent = text;
  if (style) made.className = style;
  return made;
}

// Queues, indexes and functions as they are now: the same page is fetched, and only these tables are replaced.
async function refresh() {
  if (document.hidden) return;
  try {
    const answer = await fetch("/");
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const now = document.querySelectorAll("tbody");
    fresh.querySelectorAll("tbody").forEach((rows, position) => now[position]?.replaceWith(rows));
  } catch {
    // The next turn tries again.
  }
}

setInterval(refresh, 5000);
