// Files on their way: into the store, through the functions that take them, until a search can find them.

import { Lost, Problem, answered, get } from "./api.js";
import { pathOf } from "./objects.js";

const UPLOADS = 3;
const LOOKS = 12;
const LOOK_MS = 400;
const FOLLOWED = ["stored", "working", "embedded"];
const OVER = ["searchable", "done", "unwatched", "failed"];

/**
 * One file. `stage`: waiting, uploading, stored (a function has it to do), working, embedded (in no version that is
 * searched yet), and at the end searchable, done (its function makes nothing searchable), unwatched or failed.
 * `again`: it did not reach the store, and can be sent once more.
 */
class Upload {
  stage = "waiting";
  note = "";
  sent = 0;
  began = 0;
  ended = 0;
  asked = 0;
  etag = "";
  chunks = null;
  invocation = null;
  again = false;
  request = null;

  constructor(file, { bucket, indexed }, key) {
    Object.assign(this, { file, bucket, indexed, key, id: `${bucket}/${key}` });
  }

  get over() {
    return OVER.includes(this.stage);
  }

  get seconds() {
    return (this.ended - this.began) / 1000;
  }

  become(stage, note = "") {
    Object.assign(this, { stage, note });
    if (this.over) this.ended = performance.now();
  }
}

/** Sends and follows any number of files, a few at a time; fires "change" when there is something new to show. */
export class Uploads extends EventTarget {
  all = new Map();
  limit = Infinity;
  #sending = 0;
  #timer = 0;

  /** Send a file to `target` ({bucket, indexed}). It takes the place of one of its name that is on its way. */
  add(file, target, key) {
    const made = new Upload(file, target, key);
    this.all.get(made.id)?.request?.abort();
    this.all.delete(made.id);
    this.all.set(made.id, made);
    if (file.size > this.limit) made.become("failed", "It is larger than the gateway takes (limits.upload in functions.yaml).");
    this.#work();
  }

  again(upload) {
    this.add(upload.file, upload, upload.key);
  }

  /** Forget those that have come to an end. */
  clear() {
    for (const one of this.all.values()) if (one.over) this.all.delete(one.id);
    this.#changed();
  }

  get sending() {
    return this.#sending > 0;
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }

  #work() {
    for (const one of this.all.values()) {
      if (this.#sending >= UPLOADS) break;
      if (one.stage === "waiting") this.#send(one);
    }
    this.#changed();
  }

  async #send(one) {
    this.#sending += 1;
    one.become("uploading");
    one.began = performance.now();
    try {
      const told = await put(one, () => this.#changed());
      one.etag = told.etag;
      if (told.warning) one.become("unwatched", told.warning);
      else one.become("stored");
      this.#follow();
    } catch (error) {
      if (!("status" in error)) throw error;
      one.become("failed", error.message);
      one.again = true;
    } finally {
      this.#sending -= 1;
      this.#work();
    }
  }

  #follow() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#look(), LOOK_MS);
  }

  /** Ask what became of some that are in the store, first of those that were asked longest ago. */
  async #look() {
    const open = [...this.all.values()].filter((one) => FOLLOWED.includes(one.stage));
    if (!open.length) return;
    open.sort((one, other) => one.asked - other.asked);
    await Promise.all(open.slice(0, LOOKS).map(ask));
    this.#changed();
    this.#follow();
  }
}

async function ask(one) {
  one.asked = performance.now();
  try {
    const told = await get(`/documents/${pathOf(one.bucket, one.key)}`);
    if (told.etag !== one.etag) return; // what is told is of the version before
    Object.assign(one, { invocation: told.invocation, chunks: told.chunks });
    if (told.triggers.length) one.indexed = told.searchable !== undefined; // before that no trigger has seen it
    one.become(...stageOf(told));
  } catch (error) {
    if (!("status" in error)) throw error;
    if (error.status === 404) one.become("failed", "It is not in the store any more.");
  }
}

/** A document's status as a stage and a note. */
export function stageOf({ status, searchable, reason, notes = [] }) {
  if (status === "processing") return ["working"];
  if (status === "completed") return [searchable === undefined ? "done" : searchable ? "searchable" : "embedded", notes.join("; ")];
  if (status === "failed") return ["failed", reason ?? "No reason is recorded."];
  if (status === "unwatched") return ["unwatched", reason ?? "No function takes it."];
  if (status === "removed") return ["failed", "It was removed."];
  return ["stored"];
}

/** PUT with progress, which fetch() does not tell. */
function put(one, changed) {
  return new Promise((resolve, reject) => {
    const request = (one.request = new XMLHttpRequest());
    request.open("PUT", `/buckets/${pathOf(one.bucket, one.key)}`);
    request.responseType = "json";
    request.upload.onprogress = ({ loaded }) => {
      one.sent = loaded;
      changed();
    };
    request.onload = () => {
      answered(true);
      if (request.status < 400) resolve(request.response ?? {});
      else reject(new Problem(request.status, request.response ?? {}));
    };
    request.onerror = () => {
      answered(false);
      reject(new Lost());
    };
    request.onabort = () => reject(Object.assign(new Lost(), { message: "Another file of this name was sent instead." }));
    request.send(one.file);
  });
}
