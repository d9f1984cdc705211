// The part of a text that a question is about, and the words of it that are in the question.

import { h } from "./dom.js";

const MOST = 340;
const BEFORE = 80;

/** Beginnings of the words of a question: "keepers" finds "keeper", "kept" does not. The short ones say little. */
function beginnings(question) {
  const all = question.toLowerCase().match(/[\p{L}\p{N}]{2,}/gu) ?? [];
  const long = all.filter((word) => word.length > 3);
  const words = long.length ? long : all;
  return [...new Set(words.map((word) => (word.length > 5 ? word.slice(0, -2) : word.length > 4 ? word.slice(0, -1) : word)))];
}

function pattern(question) {
  const found = beginnings(question);
  return found.length ? new RegExp(`(?<![\\p{L}\\p{N}])(?:${found.join("|")})[\\p{L}\\p{N}]*`, "giu") : null;
}

/** The text with <mark> around the words of the question. */
export function marked(text, question) {
  const words = pattern(question);
  if (!words) return [text];
  const found = [];
  let from = 0;
  for (const match of text.matchAll(words)) {
    found.push(text.slice(from, match.index), h("mark", match[0]));
    from = match.index + match[0].length;
  }
  return [...found, text.slice(from)];
}

/** A few lines of a text, around where most words of the question stand. */
export function snippet(text, question) {
  if (text.length <= MOST) return text;
  const words = pattern(question);
  const places = words ? [...text.matchAll(words)].map((match) => match.index) : [];
  const near = (place) => places.filter((other) => other >= place && other < place + MOST - BEFORE).length;
  const best = places.reduce((one, other) => (near(other) > near(one) ? other : one), places[0] ?? 0);
  const wanted = Math.max(0, Math.min(best - BEFORE, text.length - MOST));
  const from = wanted && text.indexOf(" ", wanted) + 1;
  const space = text.lastIndexOf(" ", from + MOST);
  const to = from + MOST >= text.length ? text.length : space > from ? space : from + MOST;
  return `${from ? "… " : ""}${text.slice(from, to).trim()}${to < text.length ? " …" : ""}`;
}
