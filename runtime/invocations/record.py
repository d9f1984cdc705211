"""The fields of a new invocation's record. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgpack

from runtime import keys
from runtime.broker.scripts import Argument
from runtime.config.settings import Function
from runtime.invocations import packed_arguments
from runtime.values.trace_context import packed

if TYPE_CHECKING:
    from runtime.invocations.submit import Call


def plain(arguments: Mapping[str, Any], trigger: str) -> Mapping[str, Any]:
    """Arguments with text keys. What came by HTTP was JSON; YAML and functions can have other keys, which no worker
    would decode."""
    found: Mapping[str, Any] = arguments if trigger == "http" else _with_text_keys(arguments)
    return found


def fields(
    call: Call,
    spec: Function,
    arguments: Mapping[str, Any],
    *,
    priority: int,
    root: str,
    now_ms: int,
    compress_over: int | None = None,
) -> tuple[dict[str, Argument], int | None]:
    """The record of a call, and until when (ms since the epoch) it must have been started."""
    held: dict[str, Argument] = {
        "function": call.function,
        "state": "queued",
        "queue": spec.queue,
        "priority": priority,
        "tenant": call.tenant,
        "trigger": call.trigger,
        "attempts": 0,
        "fence": 0,
        "created": now_ms if call.accepted is None else int(call.accepted * 1000),
        "queued": now_ms,
        "root": root,
        "arguments": packed_arguments.pack(arguments, compress_over),
    }
    expires = spec.expires if call.expires is None else call.expires
    until: int | None = None
    if expires is not None:
        held["expires"] = until = now_ms + int((call.delay + expires) * 1000)
    if call.deadline is not None:
        held["deadline"] = deadline = int(call.deadline * 1000)
        until = deadline if until is None else min(until, deadline)
    told: tuple[tuple[str, Argument | None], ...] = (
        ("parent", call.parent),
        ("callback", call.callback),
        ("trace", packed(call.trace)),
        ("origin", call.origin),
        ("arguments_ref", call.arguments_ref),
        ("key", _key(spec, arguments)),
        ("accept", call.accept),
        ("reply_to", keys.reply(call.reply_to) if call.reply_to else None),
        ("event", json.dumps(dict(call.event)) if call.event else None),
        ("idem", call.idempotency.digest if call.idempotency else None),
        ("parents", msgpack.packb(list(call.parents), use_bin_type=True) if call.parents else None),
        ("hops", call.hops or None),
        ("no_retry", None if call.retry else 1),
        ("no_chain", None if call.chain else 1),
        ("chained", 1 if call.chained else None),
        ("split", 1 if call.split else None),
        ("streamed", 1 if call.streamed else None),
        ("confined", 1 if call.confined else None),
    )
    for name, value in told:
        if value is not None:
            held[name] = value
    if call.fan:
        held |= {"fan": call.fan, "fan_index": call.fan_index, "in_flight": call.in_flight}
        held |= {"state": "accepted", "waits": "children", "gate": f"fan:{call.fan}"}
        held |= {} if call.amount is None else {"amount": call.amount}
    elif is_gathered(call, spec):
        held |= {"state": "accepted", "waits": "gather"}
    elif call.delay:
        held |= {"state": "accepted", "waits": "delay"}
    if call.delay:
        held["due"] = now_ms + int(call.delay * 1000)
    return held, until


def is_gathered(call: Call, spec: Function) -> bool:
    """Whether a call goes with others. Those that wait for their time, or for their turn in a map, go alone; so does
    another program's, whose message a worker has already."""
    return spec.gather is not None and not call.delay and not call.fan and call.trigger != "celery"


def _key(spec: Function, arguments: Mapping[str, Any]) -> str | None:
    """The value of the function's concurrency key in these arguments; None where it has none or it is absent."""
    if spec.concurrency_key is None:
        return None
    value: Any = arguments
    for part in spec.concurrency_key.argument.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
    if len(text) > 100 or not text.isprintable():
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return text


def _with_text_keys(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _with_text_keys(item) for key, item in value.items()}
    return [_with_text_keys(item) for item in value] if isinstance(value, list | tuple) else value
