// What a view shows, kept fresh: loaded again and again while somebody can see it.

import { draw } from "./dom.js";
import { trouble } from "./ui.js";
import { connection } from "./api.js";

/**
 * Load and draw now and every `ms`; a hidden page rests. `load(signal)` gets data, `show(data)` gives nodes for
 * `place`. Before the first data a failure is shown in the place itself, by `failed(error)`; later ones leave what is
 * there. What is not there (404) is not asked for again.
 * Returns { stop(), now() }: now() loads at once and resolves when it is drawn.
 */
export function live(place, ms, load, show, failed = trouble) {
  let timer = 0;
  let turn = new AbortController();
  let drawn = false;
  let over = false;

  async function now() {
    clearTimeout(timer);
    turn.abort();
    const mine = (turn = new AbortController());
    try {
      const data = await load(mine.signal);
      if (mine.signal.aborted) return;
      draw(place, show(data));
      drawn = true;
    } catch (error) {
      if (error.name === "AbortError") return;
      if (!("status" in error)) throw error;
      if (!drawn || error.status === 404) draw(place, failed(error));
      over ||= error.status === 404;
    } finally {
      if (mine === turn) place.removeAttribute("aria-busy");
      if (!over && mine === turn && !document.hidden) timer = setTimeout(now, ms);
    }
  }

  const seen = () => (document.hidden ? clearTimeout(timer) : now());
  document.addEventListener("visibilitychange", seen);
  connection.addEventListener("back", seen);
  place.setAttribute("aria-busy", "true");
  now();
  return {
    now,
    stop() {
      over = true;
      clearTimeout(timer);
      turn.abort();
      document.removeEventListener("visibilitychange", seen);
      connection.removeEventListener("back", seen);
    },
  };
}
