// Elements, and how a page that is drawn anew becomes the one that is there. What has the focus keeps it.

const SVG = "http://www.w3.org/2000/svg";
const HANDLERS = Symbol("handlers");
const GIVEN = Symbol("given");
const STAYS = Symbol("stays");

/** An element: h("p.note#id", {title, onclick, hidden: true}, "text", node, [more], null). Attributes may be left out. */
export function h(what, ...rest) {
  const [name, ...parts] = what.split(/(?=[.#])/);
  const made = document.createElement(name);
  for (const part of parts) {
    if (part[0] === "#") made.id = part.slice(1);
    else made.classList.add(part.slice(1));
  }
  return filled(made, rest);
}

/** The same for SVG: svg("path", {d: "…"}). */
export function svg(name, ...rest) {
  return filled(document.createElementNS(SVG, name), rest);
}

/**
 * Redraw: `place` gets the children that are given, and keeps every node that is the same (`key` tells rows apart).
 * A child that is on the page already stays as it is.
 */
export function draw(place, ...children) {
  const wanted = document.createDocumentFragment();
  append(wanted, children);
  redraw(place, wanted);
}

function filled(made, rest) {
  const [first] = rest;
  const plain = first !== null && typeof first === "object" && !(first instanceof Node) && !Array.isArray(first);
  if (plain) {
    for (const [name, value] of Object.entries(first)) set(made, name, value);
  }
  append(made, plain ? rest.slice(1) : rest);
  // Options must be there before one of them can be chosen.
  if (plain && "value" in first && made instanceof HTMLSelectElement) made.value = first.value ?? "";
  return made;
}

function set(made, name, value) {
  if (name === "checked" || name === "indeterminate") value = Boolean(value);
  else if (value === null || value === undefined || value === false) return;
  if (name.startsWith("on")) {
    made[HANDLERS] = { ...made[HANDLERS], [name]: value };
    made[name] = value;
  } else if (name === "class") {
    made.classList.add(...value.split(" ").filter(Boolean));
  } else if (name === "value" || name === "checked" || name === "indeterminate") {
    made[GIVEN] = { ...made[GIVEN], [name]: value };
    made[name] = value;
  } else if (name === "key") {
    made.dataset.key = value;
  } else {
    made.setAttribute(name, value === true ? "" : value);
  }
}

function append(made, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    if (Array.isArray(child)) append(made, child);
    else if (child.isConnected) made.append(Object.assign(document.createComment("stays"), { [STAYS]: child }));
    else made.append(child);
  }
}

function redraw(place, wanted) {
  const fresh = [...wanted.childNodes];
  const staying = new Set(fresh.map((one) => one[STAYS]));
  const old = [...place.childNodes].filter((one) => !staying.has(one));
  const keyed = new Map(old.filter((one) => one.dataset?.key).map((one) => [one.dataset.key, one]));
  let next = 0;
  const used = fresh.map((one) => {
    if (one[STAYS]) return one[STAYS];
    const key = one.dataset?.key;
    const at = key === undefined ? old.findIndex((other, at) => at >= next && alike(other, one)) : -1;
    if (at >= 0) next = at + 1;
    const found = key === undefined ? old[at] : keyed.get(key);
    return found && alike(found, one) ? found : one;
  });
  // What goes, goes first: then those that stay are in order, and nothing is moved that need not be.
  const stays = new Set(used);
  for (const one of old) {
    if (!stays.has(one)) one.remove();
  }
  let here = place.firstChild;
  used.forEach((one, at) => {
    if (one === here) here = here.nextSibling;
    else place.insertBefore(one, here);
    if (one !== fresh[at] && !fresh[at][STAYS]) become(one, fresh[at]);
  });
}

function alike(old, fresh) {
  return old.nodeName === fresh.nodeName && old.id === fresh.id && old.dataset?.key === fresh.dataset?.key;
}

function become(old, fresh) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  // What the person did is theirs: what they have opened. What has `data-own` draws its children by itself.
  const theirs = old.nodeName === "DETAILS" || old.nodeName === "DIALOG" ? "open" : "";
  for (const { name } of [...old.attributes]) {
    if (name !== theirs && !fresh.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (name !== theirs && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const name of Object.keys({ ...old[HANDLERS], ...fresh[HANDLERS] })) old[name] = fresh[HANDLERS]?.[name] ?? null;
  old[HANDLERS] = fresh[HANDLERS];
  if (!old.hasAttribute("data-own")) redraw(old, fresh);
  for (const [name, value] of Object.entries(fresh[GIVEN] ?? {})) {
    // What is being typed is theirs, too; a box is as it is drawn, whoever has clicked it.
    const typing = name === "value" && old === document.activeElement;
    if (!typing && old[name] !== value) old[name] = value;
  }
}
