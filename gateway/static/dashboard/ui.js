// The parts that views are made of. All of them are plain elements from dom.js.

import { h } from "./dom.js";
import { away, brief, exact } from "./format.js";
import { link } from "./router.js";

/** A view's head: <h1> (it gets the focus when the view comes), a line about it, and controls at the right. */
export function heading(title, note, ...controls) {
  return h(
    "header.head",
    h("div", h("h1", { tabindex: "-1" }, title), note && h("p.soft", note)),
    h("div.controls", controls),
  );
}

/** A titled part of a view. `name` becomes the id that labels it. */
export function card(name, title, ...content) {
  const id = `${name}-title`;
  return h("section.card", { "aria-labelledby": id, key: name }, h("h2", { id }, title), content);
}

/**
 * A table that scrolls sideways where it must. `columns` are [title, style]: style "number" is set to the right,
 * "grow" takes what is left, "wide" is left out on a phone, "act" is for buttons. A table of many columns becomes
 * a list of its rows on a phone, with all that they have.
 */
export function table(label, columns, rows, none = "Nothing here.") {
  if (!rows.length) return h("p.none", none);
  const head = columns.map(([title, style = ""]) =>
    h("th", { scope: "col", role: "columnheader", class: style }, style === "act" ? h("span.hidden", title) : title),
  );
  const many = columns.filter(([, style = ""]) => !style.includes("wide")).length > 4;
  return h(
    "div.scroll",
    { tabindex: "0", role: "region", "aria-label": label },
    h(
      "table",
      { role: "table", class: many ? "many" : "" },
      h("caption.hidden", label),
      h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, head)),
      h("tbody", { role: "rowgroup" }, rows),
    ),
  );
}

/** One row; cells as in table(): the first is its head. `key` keeps it the same row when it is drawn again. */
export function row(key, columns, ...cells) {
  // The roles are those of the elements; without them they are lost where CSS shows rows as blocks.
  return h(
    "tr",
    { key, role: "row" },
    cells.map((cell, at) => {
      const [title, style = ""] = columns[at];
      return at === 0
        ? h("th", { scope: "row", role: "rowheader", class: style }, cell)
        : h("td", { role: "cell", class: style, "data-label": title }, h("div", cell));
    }),
  );
}

/** The state of an invocation, or any word with one of their colours: a dot and the word. */
export function state(word, tone = word) {
  return h("span.state", { "data-tone": tone }, word);
}

/** A small word beside a name. */
export function tag(word, tone = "") {
  return h("span.tag", { "data-tone": tone || null }, word);
}

/** When something was, as "12 s ago"; the instant itself is in its title. */
export function when(seconds, text = null) {
  if (seconds === null || seconds === undefined) return "–";
  return h("time", { datetime: new Date(seconds * 1000).toISOString(), title: exact(seconds) }, text ?? away(seconds));
}

export function toFunction(name) {
  return h("a", { href: link(`/functions/${encodeURIComponent(name)}`) }, name);
}

export function toInvocation(id, text = null) {
  const style = text === null ? "id" : "";
  return h("a", { class: style, href: link(`/invocations/${encodeURIComponent(id)}`), title: id }, text ?? brief(id));
}

/** A button. `style`: "main", "danger" or none. While `work` runs it is off; what it throws becomes a message. */
export function button(text, work, { style = "", label = null, off = false } = {}) {
  const act = async (event) => {
    const pressed = event.currentTarget;
    pressed.disabled = true;
    try {
      await work(event);
    } catch (error) {
      fail(error);
    } finally {
      pressed.disabled = false;
    }
  };
  return h("button", { type: "button", class: style, "aria-label": label, disabled: off, onclick: act }, text);
}

/** A labelled control: field("Priority", h("input", …), "0 to 9"). */
export function field(label, control, hint = null, error = null) {
  control.id ||= `f-${label.toLowerCase().replace(/\W+/g, "-")}`;
  const notes = [hint && `${control.id}-hint`, error && `${control.id}-error`].filter(Boolean).join(" ");
  if (notes) control.setAttribute("aria-describedby", notes);
  if (error) control.setAttribute("aria-invalid", "true");
  const box = control.type === "checkbox"; // it stands before its name, everything else below it
  return h(
    "div.field",
    h(
      "div.top",
      box && control,
      h("label", { for: control.id }, label),
      hint && h("span.hint", { id: `${control.id}-hint` }, hint),
    ),
    !box && control,
    error && h("p.bad", { id: `${control.id}-error` }, error),
  );
}

/** A <select>; options are words or [value, text]. */
export function choice(options, { value = "", label = null, onchange }) {
  const made = options.map((one) => (Array.isArray(one) ? h("option", { value: one[0] }, one[1]) : h("option", one)));
  return h("select", { value, "aria-label": label, onchange }, made);
}

export function problemBox(text, ...more) {
  return h("div.problem", { role: "alert" }, h("p", text), more);
}

/** An error of api.js as a box: what happened; where it is about fields, an entry for each. */
export function trouble(error) {
  const fields = error.errors?.map((one) => h("li", h("code", one.field), ` ${one.message}`)) ?? [];
  return fields.length ? problemBox("This cannot be taken:", h("ul", fields)) : problemBox(error.message);
}

/** A message that goes by itself; errors stay until they are closed. */
export function toast(text, tone = "") {
  const place = document.getElementById(tone === "bad" ? "alerts" : "toasts");
  const made = h("div.toast", { "data-tone": tone || null }, h("p", text));
  made.append(
    h("button.plain", { type: "button", "aria-label": "Close this message", onclick: () => made.remove() }, "×"),
  );
  place.append(made);
  while (place.children.length > 3) place.firstChild.remove();
  if (tone !== "bad") setTimeout(() => made.remove(), 6000);
}

/** Tell of an error; those that a view gave up itself are none. */
export function fail(error) {
  if (error.name === "AbortError") return;
  toast(error.message, "bad");
  if (!("status" in error)) throw error;
}

/** Ask before something that cannot be taken back. Resolves to true or false; Escape is no. */
export function confirm(title, text, yes) {
  const dialog = h(
    "dialog",
    { "aria-labelledby": "ask-title", "aria-describedby": "ask-text" },
    h(
      "form",
      { method: "dialog" },
      h("h2#ask-title", title),
      h("p#ask-text", text),
      h("div.controls", h("button", { value: "no" }, "Cancel"), h("button.danger", { value: "yes" }, yes)),
    ),
  );
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
  });
}

/** A bar from 0 to `total`; without a total it only says that something is going on. */
export function progress(label, done, total) {
  return h("progress", { "aria-label": label, max: total || null, value: total ? done : null });
}
