// A JSON Schema as the controls of a form: one for each property. What is too rich for a control is typed as JSON.

import { h } from "./dom.js";
import { field } from "./ui.js";

/** A value that cannot be read from its control; `field` is the property. */
export class Unreadable extends Error {
  constructor(name, message) {
    super(message);
    this.field = name;
  }
}

/**
 * The fields of an object's schema: { nodes, read(), fill(values), mark(errors) }. read() gives the arguments without
 * those that were left empty (files as a list of File) and throws Unreadable; mark({name: message}) says at the fields
 * what is wrong.
 */
export function fields(schema) {
  const required = schema.required ?? [];
  const parts = Object.entries(schema.properties ?? {}).map(([name, found]) =>
    part(name, flat(found, schema), required.includes(name)),
  );
  return {
    nodes: parts.map((one) => one.node),
    read() {
      const values = parts.map((one) => [one.name, one.read()]);
      return Object.fromEntries(values.filter(([, value]) => value !== undefined));
    },
    fill: (values) => parts.forEach((one) => one.name in values && one.fill(values[one.name])),
    mark(errors) {
      parts.forEach((one) => one.mark(errors[one.name]));
      parts.find((one) => errors[one.name])?.control.focus();
    },
  };
}

/** A schema without references, and without the `null` that an optional value may be besides. */
function flat(found, whole) {
  if (found.$ref) {
    const target = found.$ref
      .replace(/^#\//, "")
      .split("/")
      .reduce((at, step) => at?.[step], whole);
    const { $ref, ...more } = found;
    return flat({ ...target, ...more }, whole);
  }
  const kinds = (found.anyOf ?? found.oneOf ?? []).filter((one) => one.type !== "null");
  if (kinds.length === 1) {
    const { anyOf, oneOf, ...more } = found;
    return flat({ ...kinds[0], ...more, nullable: true }, whole);
  }
  return found;
}

function kindOf(schema) {
  if (schema.enum) return "enum";
  if (schema["x-upload"] || schema.items?.["x-upload"]) return "file";
  if (schema.type === "boolean") return schema.nullable ? "enum" : "boolean";
  if (schema.type === "integer" || schema.type === "number") return "number";
  if (schema.type === "string") return "string";
  if (schema.type === "array" && schema.items?.type === "string" && !schema.items.enum) return "lines";
  return "json";
}

const MAKE = {
  enum: (schema) => {
    const values = schema.enum ?? [true, false];
    return h(
      "select",
      h("option", { value: "" }, "–"),
      values.map((one) => h("option", { value: JSON.stringify(one) }, String(one))),
    );
  },
  boolean: () => h("input", { type: "checkbox" }),
  number: (schema) => h("input", { inputmode: schema.type === "integer" ? "numeric" : "decimal", autocomplete: "off" }),
  string: () => h("textarea.text", { rows: "1", spellcheck: "false" }),
  lines: () => h("textarea.text", { rows: "2", spellcheck: "false" }),
  json: () => h("textarea", { rows: "3", spellcheck: "false" }),
  file: (schema) =>
    h("input", { type: "file", multiple: schema.type === "array", accept: (schema.items ?? schema).contentMediaType }),
};

const READ = {
  enum: JSON.parse,
  number: (text, schema) => {
    const found = Number(text);
    const whole = schema.type === "integer";
    if (!Number.isFinite(found) || (whole && !Number.isInteger(found)))
      throw new Error(`is no ${whole ? "whole " : ""}number`);
    if (whole && !Number.isSafeInteger(found)) throw new Error("is too large for this form; JSON takes it");
    return found;
  },
  string: (text) => text,
  lines: (text) => text.split("\n").filter((line) => line.trim() !== ""),
  json: (text) => {
    try {
      return JSON.parse(text);
    } catch (error) {
      throw new Error(`is no JSON: ${error.message}`);
    }
  },
};

function part(name, schema, required) {
  const kind = kindOf(schema);
  const control = MAKE[kind](schema);
  control.id = `arg-${name}`;
  control.name = name;
  if (required) control.setAttribute("aria-required", "true");
  if (schema.default != null && "placeholder" in control)
    control.placeholder = kind === "string" ? schema.default : JSON.stringify(schema.default);
  if (kind === "boolean") control.checked = schema.default === true;
  if (kind === "enum" && schema.default != null) control.value = JSON.stringify(schema.default);
  const bad = h("p.bad", { id: `${control.id}-bad`, hidden: true });
  const node = field(name, control, hint(kind, schema, required));
  node.append(bad);
  return {
    name,
    kind,
    control,
    node,
    read() {
      if (kind === "boolean") return control.checked;
      if (kind === "file") return control.files.length ? [...control.files] : undefined;
      if (control.value === "") return undefined;
      try {
        return READ[kind](control.value, schema);
      } catch (error) {
        throw new Unreadable(name, error.message);
      }
    },
    fill(value) {
      if (kind === "boolean") control.checked = value === true;
      else if (kind === "lines" && Array.isArray(value)) control.value = value.join("\n");
      else if (kind === "string" || kind === "number") control.value = value ?? "";
      else if (kind !== "file") control.value = JSON.stringify(value, null, kind === "json" ? 2 : 0);
    },
    mark(message) {
      bad.hidden = !message;
      bad.textContent = message ?? "";
      control.toggleAttribute("aria-invalid", Boolean(message));
      if (message) control.setAttribute("aria-invalid", "true");
      const notes = [control.id + "-hint", message && bad.id].filter((id) => id && document.getElementById(id));
      control.setAttribute("aria-describedby", notes.join(" "));
    },
  };
}

/** What may be typed, in words. */
function hint(kind, schema, required) {
  const what = {
    enum: "",
    boolean: "",
    file: schema.type === "array" ? "files" : "a file",
    number: schema.type === "integer" ? "whole number" : "number",
    string: { "date-time": "like 2026-03-01T12:00:00Z", date: "like 2026-03-01", uuid: "a UUID" }[schema.format] ?? "",
    lines: "one a line",
    json: `JSON: ${schema.type ?? "any value"}`,
  }[kind];
  const range = [
    schema.minimum !== undefined && `from ${schema.minimum}`,
    schema.maximum !== undefined && `to ${schema.maximum}`,
  ]
    .filter(Boolean)
    .join(" ");
  return [schema.description, what, range, required ? "required" : ""].filter(Boolean).join(" · ") || null;
}
