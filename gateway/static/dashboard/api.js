// The gateway's API: JSON in and out, problems as exceptions, server-sent events that go on where they were cut off.

/** An answer that is no success. `detail` is a sentence for people, `errors` has one {field, message} a bad field. */
export class Problem extends Error {
  constructor(status, told) {
    super(told.detail || `The gateway answered ${status}.`);
    this.name = "Problem";
    this.status = status;
    this.title = told.title || "";
    this.errors = told.errors || [];
    this.told = told;
  }
}

/** Nobody answered: the gateway is away, or the network. */
export class Lost extends Error {
  constructor() {
    super("The gateway does not answer.");
    this.name = "Lost";
    this.status = 0;
    this.errors = [];
  }
}

/** Fires "lost" when nobody answers, "back" when somebody does again. */
export const connection = new EventTarget();
let lost = false;

export function answered(yes) {
  if (lost === !yes) return;
  lost = !yes;
  connection.dispatchEvent(new Event(lost ? "lost" : "back"));
}

/** fetch() that raises Problem and Lost; an abort stays an AbortError. */
export async function request(method, path, { body, headers, signal } = {}) {
  let answer;
  try {
    answer = await fetch(path, { method, body, headers, signal, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    answered(false);
    throw new Lost();
  }
  answered(true);
  if (answer.status === 401) signIn();
  if (!answer.ok) throw new Problem(answer.status, await problem(answer));
  return answer;
}

/** Nobody is known here any more: to the form, and back to this view afterwards. */
function signIn() {
  location.assign(`/signin?next=${encodeURIComponent(location.pathname + location.hash)}`);
}

async function problem(answer) {
  try {
    return await answer.json();
  } catch {
    return {};
  }
}

/** GET as JSON. `query` is an object; what is empty in it is left out. `allow` are statuses that are answers, too. */
export async function get(path, query = {}, { signal, allow = [] } = {}) {
  const asked = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== "" && value != null));
  try {
    const answer = await request("GET", asked.size ? `${path}?${asked}` : path, { signal });
    return await answer.json();
  } catch (error) {
    if (error instanceof Problem && allow.includes(error.status)) return error.told;
    throw error;
  }
}

/** POST JSON, get JSON; {} for an empty answer. */
export async function post(path, body = {}, { headers, signal } = {}) {
  const sent = { "Content-Type": "application/json", ...headers };
  const answer = await request("POST", path, { body: JSON.stringify(body), headers: sent, signal });
  const text = await answer.text();
  return text ? JSON.parse(text) : {};
}

export async function remove(path, { signal } = {}) {
  const answer = await request("DELETE", path, { signal });
  const text = await answer.text();
  return text ? JSON.parse(text) : {};
}

const RECONNECT_MS = 1000;

/**
 * Listen to an event stream. `on` has a function for each event's name: on.state(data, id). `on.end()` is called when
 * the stream has told all, `on.error(problem)` when it cannot be had. Cut off, it comes back with the last id it heard.
 * Returns a function that stops it.
 */
export function events(path, on) {
  const stop = new AbortController();
  listen(path, on, stop.signal).catch((error) => {
    if (error.name !== "AbortError") on.error?.(error);
  });
  return () => stop.abort();
}

async function listen(path, on, signal) {
  let last = "";
  while (!(await once(path, on, signal, last, (id) => (last = id)))) {
    await new Promise((resolve) => setTimeout(resolve, RECONNECT_MS));
    signal.throwIfAborted();
  }
  on.end?.();
}

/** One connection. True when there is no more to hear (204), false when it is worth coming back. */
async function once(path, on, signal, last, heard) {
  try {
    const headers = { Accept: "text/event-stream", ...(last && { "Last-Event-ID": last }) };
    const answer = await request("GET", path, { headers, signal });
    if (answer.status === 204) return true;
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let text = ""; ;) {
      const { done, value } = await reader.read();
      if (done) return false;
      const blocks = (text + value).split("\n\n");
      text = blocks.pop();
      for (const block of blocks) tell(block, on, heard);
    }
  } catch (error) {
    const passes =
      error instanceof Lost || error instanceof TypeError || (error instanceof Problem && error.status === 503);
    if (passes && !signal.aborted) return false;
    throw error;
  }
}

function tell(block, on, heard) {
  const found = { event: "message", id: "", data: [] };
  for (const line of block.split("\n")) {
    const [, name, value] = /^(\w+): ?(.*)$/.exec(line) ?? [];
    if (name === "data") found.data.push(value);
    else if (name) found[name] = value;
  }
  if (found.id) heard(found.id);
  if (found.data.length) on[found.event]?.(JSON.parse(found.data.join("\n")), found.id);
}
