// #/functions/NAME: call a function, see its output as it comes, and read what it is.

import { get, post } from "./api.js";
import { caller } from "./call.js";
import { draw, h } from "./dom.js";
import { live } from "./live.js";
import { link } from "./router.js";
import { button, card, heading, problemBox, tag, toFunction, trouble } from "./ui.js";
import { watch } from "./watch.js";

export const title = ({ name }) => name;

export function mount(el, { name }) {
  const place = h("div.view");
  el.append(place);
  draw(place, heading(name));
  const output = h("div.view.tight", { "data-own": true });
  let stop = () => {};
  let made = { form: null, schema: "" };

  const called = (id) => {
    stop();
    stop = watch(output, id);
    const shown = document.getElementById("output-title");
    shown?.scrollIntoView({ block: "nearest" });
  };

  const turn = live(
    place,
    4000,
    (signal) => get(`/functions/${encodeURIComponent(name)}`, {}, { signal }),
    (one) => {
      const schema = JSON.stringify(one.schema);
      // The code was changed: another form. What was typed into the old one is taken over where it fits.
      if (schema !== made.schema) made = { schema, form: caller(one, called, made.form?.values()) };
      return [
        heading(
          name,
          one.summary,
          h("a.button", { href: link("/invocations", { function: name }) }, "Its invocations"),
          button(one.paused ? "Resume" : "Pause", async () => {
            await post(one.paused ? "/admin/resume" : "/admin/pause", { kind: "function", name });
            await turn.now();
          }),
        ),
        one.error && problemBox(`${name} cannot be loaded: ${one.error}`),
        one.paused &&
          h("p.note", { "data-tone": "warn" }, `It rests: calls are accepted and wait. ${one.paused.reason ?? ""}`),
        h("div.columns", card("call", "Call", made.form.node), card("output", "Output", output)),
        about(one),
      ];
    },
    (error) => [heading(name), trouble(error)],
  );
  draw(output, h("p.none", "What a call puts out is shown here, as it comes."));
  return () => {
    turn.stop();
    stop();
  };
}

function about(one) {
  const follow = (what) => (what ? (what.function ? [toFunction(what.function)] : what) : "–");
  const facts = {
    Handler: h("code", one.handler),
    Queue: h("a", { href: link("/queues") }, one.queue),
    Priority: one.priority,
    Timeout: one.timeout ?? "none",
    Retries: one.retries.max ? `${one.retries.max}, first after ${seconds(one.retries.backoff)}` : "none",
    "After success": follow(one.on_success),
    "After failure":
      one.on_failure === "dead_letter"
        ? h("a", { href: link("/dead", { function: one.name }) }, "dead letter")
        : follow(one.on_failure),
    Triggers: h(
      "ul.plain",
      one.triggers.map((trigger) => h("li", trigger_words(trigger))),
    ),
  };
  const rest = one.doc.trim().split("\n").slice(1).join("\n").trim();
  return card(
    "about",
    "About",
    rest && h("p.doc", rest),
    h(
      "dl.facts",
      Object.entries(facts).map(([name, value]) => [h("dt", name), h("dd", value)]),
    ),
    h("details", h("summary", "Schema of the arguments"), h("pre", JSON.stringify(one.schema, null, 2))),
    one.returns && h("details", h("summary", "Schema of the result"), h("pre", JSON.stringify(one.returns, null, 2))),
  );
}

function seconds(value) {
  return typeof value === "number" ? `${value} s` : value;
}

function trigger_words(trigger) {
  if (trigger.http) return [tag("http"), " ", h("code", `POST ${trigger.http.path}`)];
  if (trigger.cron) return [tag("cron"), " ", h("code", trigger.cron), ` ${trigger.timezone ?? ""}`];
  if (trigger.every) return [tag("every"), ` ${seconds(trigger.every)}`];
  if (trigger.bucket)
    return [
      tag("bucket"),
      " ",
      h("code", `${trigger.bucket}/${trigger.prefix ?? ""}`),
      ` ${(trigger.suffix ?? []).join(" ")}`,
    ];
  return h("code", JSON.stringify(trigger));
}
