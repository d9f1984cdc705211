// Names of objects, as addresses and as text.

import { h } from "./dom.js";

/** "documents" and "a b/ü.txt" as a path of an address. */
export function pathOf(bucket, key) {
  return [bucket, ...key.split("/")].map(encodeURIComponent).join("/");
}

/** A key that may be broken after its slashes. */
export function breakable(key) {
  return key.split(/(?<=\/)/).flatMap((part, at) => (at ? [h("wbr"), part] : [part]));
}
