// What was saved last and could not be used: told above every view, until it can.

import { get } from "./api.js";

const EVERY_MS = 5000;

/** Look now and every few seconds; a hidden page rests. */
export async function follow() {
  try {
    if (!document.hidden) tell((await get("/admin/reload")).reload);
  } catch (error) {
    if (!("status" in error)) throw error; // what is there stays
  } finally {
    setTimeout(follow, EVERY_MS);
  }
}

function tell(reload) {
  const text = reload && !reload.ok ? `What was saved last is not used, the version before it goes on: ${reload.message}` : null;
  document.dispatchEvent(new CustomEvent("tundish:notice", { detail: { name: "reload", text } }));
}
