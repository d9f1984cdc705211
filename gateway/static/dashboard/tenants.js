// What tenants have used this month, for the overview: a card that is only there where somebody has limits or a tenant.

import { get } from "./api.js";
import { h } from "./dom.js";
import { bytes, count, duration, percent } from "./format.js";
import { row, state, table } from "./ui.js";

const NEAR = 0.8; // from here on answers carry a warning, too
const MOST = 10;
const TENANTS = [["Tenant"], ["Calls", "number"], ["Documents", "number wide"], ["Size", "number wide"], ["Quota", "grow"]];

export const load = (signal) => get("/api/v1/usage", {}, { signal });

/** Those that have used most of a quota come first; null where there is nothing to tell apart. */
export function show({ tenants }) {
  if (!tenants.some((one) => one.quota || one.tenant !== "default")) return null;
  const sorted = tenants.map((one) => ({ ...one, parts: parts(one.quota) })).sort((one, other) => top(other) - top(one));
  const rows = sorted.slice(0, MOST).map((one) =>
    row(one.tenant, TENANTS, one.tenant, count(one.calls), count(one.documents), bytes(one.bytes), quota(one)));
  return [table("Tenants", TENANTS, rows), sorted.length > MOST && h("p.soft", `and ${count(sorted.length - MOST)} more: tundish usage`)];
}

function parts(told) {
  return Object.entries(told ?? {}).filter(([name]) => name !== "per").sort(([, one], [, other]) => other.share - one.share);
}

const top = (one) => one.parts[0]?.[1].share ?? -1;

function quota(one) {
  if (!one.parts.length) return h("span.soft", "none");
  const words = one.parts.map(([name, part]) => `${percent(part.share)} of ${amount(name, part.limit)}`);
  return state(`${words.join(", ")} a ${one.quota.per}`, top(one) >= 1 ? "bad" : top(one) >= NEAR ? "warn" : "good");
}

function amount(name, value) {
  if (name === "seconds") return duration(value);
  return name === "bytes" ? bytes(value) : `${count(value)} ${name}`;
}
