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
    held |= _whence(call)
    held |= _manner(call)
    if spec.concurrency_key is not None and (key := _at(spec.concurrency_key.argument, arguments)) is not None:
        held["key"] = key
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


def _whence(call: Call) -> dict[str, Argument]:
    """Where a call comes from. Most come from nowhere in particular."""
    held: dict[str, Argument] = {}
    if call.parent is not None:
        held["parent"] = call.parent
    if call.parents:
        held["parents"] = msgpack.packb(list(call.parents), use_bin_type=True)
    if call.origin is not None:
        held["origin"] = call.origin
    if call.hops:
        held["hops"] = call.hops
    if call.event:
        held["event"] = json.dumps(dict(call.event))
    if call.trace is not None and (trace := packed(call.trace)) is not None:
        held["trace"] = trace
    if call.idempotency is not None:
        held["idem"] = call.idempotency.digest
    if call.arguments_ref is not None:
        held["arguments_ref"] = call.arguments_ref
    return held


def _manner(call: Call) -> dict[str, Argument]:
    """How it is run and answered, where that is not as usual."""
    held: dict[str, Argument] = {}
    if call.reply_to:
        held["reply_to"] = keys.reply(call.reply_to)
    if call.accept is not None:
        held["accept"] = call.accept
    if call.callback is not None:
        held["callback"] = call.callback
    if not call.retry:
        held["no_retry"] = 1
    if not call.chain:
        held["no_chain"] = 1
    if call.chained:
        held["chained"] = 1
    if call.split:
        held["split"] = 1
    if call.streamed:
        held["streamed"] = 1
    if call.confined:
        held["confined"] = 1
    return held


def is_gathered(call: Call, spec: Function) -> bool:
    """Whether a call goes with others. Those that wait for their time, or for their turn in a map, go alone; so does
    another program's, whose message a worker has already."""
    return spec.gather is not None and not call.delay and not call.fan and call.trigger != "celery"


def _at(argument: str, arguments: Mapping[str, Any]) -> str | None:
    """The value that is at a path of names in these arguments; None where it is absent."""
    value: Any = arguments
    for part in argument.split("."):
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
