// The form that calls a function: its arguments as controls or as JSON, and how the call is to be made.

import { request } from "./api.js";
import { draw, h } from "./dom.js";
import { fields, Unreadable } from "./fields.js";
import { field, problemBox, trouble } from "./ui.js";

/** { node, values() }. `called(id)` hears of every call that was accepted. `values` are filled in where they fit. */
export function caller(one, called, values = {}) {
  const simple = fields(one.schema ?? {});
  simple.fill(values);
  const json = h("textarea", { id: "arg-json", rows: "8", spellcheck: "false" });
  const asJson = h("input", { type: "checkbox", onchange: toggle });
  const form = h("div.fields", simple.nodes.length ? simple.nodes : h("p.none", "It takes no arguments."));
  const raw = h("div", { hidden: true }, field("Arguments as JSON", json));
  const wrong = h("div");
  const run = h("button.main", { type: "submit", disabled: Boolean(one.error) }, "Run");
  const more = options();
  // The whole is drawn once and keeps itself: a refresh of the page never touches what was typed.
  const node = h(
    "form",
    { "data-own": true, novalidate: true, onsubmit: submit, onkeydown: keys },
    form,
    raw,
    wrong,
    more.node,
    h("div.controls", run, simple.nodes.length > 0 && h("label.check", asJson, "JSON")),
  );

  function toggle() {
    try {
      if (asJson.checked) json.value = JSON.stringify(plain(simple.read()), null, 2);
      else if (json.value.trim()) simple.fill(JSON.parse(json.value));
    } catch (error) {
      asJson.checked = !asJson.checked;
      return wrongs(error);
    }
    draw(wrong);
    form.hidden = asJson.checked;
    raw.hidden = !asJson.checked;
    (asJson.checked ? json : form.querySelector("input, select, textarea"))?.focus();
  }

  function wrongs(error) {
    const fields =
      error instanceof Unreadable ? [{ field: error.field, message: error.message }] : (error.errors ?? []);
    const own = Object.fromEntries(
      fields.map((one) => [one.field.split(/[.[]/)[0], `${one.field.replace(/^[^.[]*\.?/, "")} ${one.message}`.trim()]),
    );
    simple.mark(asJson.checked ? {} : own);
    const placed =
      !asJson.checked &&
      fields.length > 0 &&
      fields.every((one) => form.querySelector(`[name="${CSS.escape(one.field.split(/[.[]/)[0])}"]`));
    draw(wrong, !placed && ("status" in error ? trouble(error) : problemBox(error.message)));
  }

  async function submit(event) {
    event.preventDefault();
    if (run.disabled) return;
    draw(wrong);
    simple.mark({});
    run.disabled = true;
    try {
      called(await send(one.name, asJson.checked ? json.value || "{}" : simple.read(), more.headers()));
    } catch (error) {
      if (!("status" in error) && !(error instanceof Unreadable)) throw error;
      wrongs(error);
    } finally {
      run.disabled = false;
    }
  }

  // Enter calls; with Shift it is a new line. In JSON it is the other way round.
  function keys(event) {
    if (event.key !== "Enter" || event.target.nodeName !== "TEXTAREA" || event.isComposing) return;
    const line = event.target.classList.contains("text");
    if (line ? event.shiftKey : !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    node.requestSubmit();
  }

  function kept() {
    try {
      return asJson.checked ? JSON.parse(json.value) : plain(simple.read());
    } catch {
      return {};
    }
  }

  return { node, values: kept };
}

/** Accept a call; its id. JSON that was typed goes out as it is: numbers of any size stay what they are. */
async function send(name, given, wishes) {
  const path = `/async-function/${encodeURIComponent(name)}`;
  // Whoever sees this page is an administrator: functions without an http trigger can be called, too.
  const headers = { "X-Tundish-Cli": "1", ...wishes };
  const form = typeof given !== "string" && Object.values(given).some(isFiles);
  if (!form) headers["Content-Type"] = "application/json";
  const body = form ? multipart(given) : typeof given === "string" ? given : JSON.stringify(given);
  const answer = await request("POST", path, { body, headers });
  return (await answer.json()).task_id;
}

function isFiles(value) {
  return Array.isArray(value) && value[0] instanceof File;
}

/** The arguments without files: they have no place in JSON. */
function plain(values) {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => !isFiles(value)));
}

/** Arguments as a form: a list is one part for each of its entries, and what is no text is JSON. */
function multipart(values) {
  const form = new FormData();
  for (const [name, value] of Object.entries(values)) {
    for (const part of Array.isArray(value) ? value : [value]) {
      form.append(name, part instanceof File || typeof part === "string" ? part : JSON.stringify(part));
    }
  }
  return form;
}

const OPTIONS = [
  ["X-Priority", "Priority", "0 to 9, and 9 runs first"],
  ["X-Delay", "Delay", "like 30s or 5m"],
  ["X-Expires", "Expires", "not started after that, like 10m"],
  ["Idempotency-Key", "Idempotency key", "the same key: the same call"],
];

function options() {
  const controls = OPTIONS.map(([name, label, hint]) => ({
    name,
    label,
    hint,
    control: h("input", { autocomplete: "off" }),
  }));
  const node = h(
    "details",
    h("summary", "Options"),
    h(
      "div.fields.two",
      controls.map((one) => field(one.label, one.control, one.hint)),
    ),
  );
  return {
    node,
    headers: () =>
      Object.fromEntries(
        controls.filter((one) => one.control.value.trim()).map((one) => [one.name, one.control.value.trim()]),
      ),
  };
}
