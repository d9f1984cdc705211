"""The one door into the queues: record and message in one atomic step, exactly in Celery's message format."""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jsonschema_rs
import msgpack
import redis
import redis.asyncio

from runtime import keys, message, scripts
from runtime.broker import translated
from runtime.config import Function
from runtime.deployment import Deployed, Deployment
from runtime.errors import FieldError, InvalidArguments
from runtime.scripts import Argument

_MAX_ERRORS = 20


@dataclass(frozen=True, slots=True)
class Call:
    """What somebody wants to be run.

    `reply_to` names the gateway whose caller waits for the answer; `retry=False` is for a caller who wants to hear
    of a failure rather than wait for the next attempt.
    """

    function: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    trigger: str = "http"
    id: str | None = None
    priority: int | None = None
    tenant: str = "default"
    root: str | None = None
    parent: str | None = None
    parents: Sequence[Mapping[str, Any]] = ()
    reply_to: str | None = None
    retry: bool = True
    chain: bool = True
    chained: bool = False
    """It is the call that a chain waits for (runtime/chain.py)."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """Keys and arguments of one submission."""

    id: str
    keys: list[str]
    arguments: list[Argument]


def new_id() -> str:
    return str(uuid.uuid4())


def prepare(deployment: Deployment, call: Call, now_ms: int) -> Prepared:
    """The record and the message of a call. Raises FunctionNotFound."""
    spec = deployment.find(call.function).spec
    task_id = call.id or new_id()
    priority = spec.priority if call.priority is None else call.priority
    root = call.root or task_id
    # What came by HTTP was JSON; YAML and functions can have other keys, which no worker would decode.
    given = call.arguments if call.trigger == "http" else _with_text_keys(call.arguments)
    record: dict[str, Argument] = {
        "function": call.function,
        "state": "queued",
        "queue": spec.queue,
        "priority": priority,
        "tenant": call.tenant,
        "trigger": call.trigger,
        "attempts": 0,
        "fence": 0,
        "created": now_ms,
        "queued": now_ms,
        "root": root,
        "arguments": msgpack.packb(dict(given), use_bin_type=True),
    }
    if call.parent:
        record["parent"] = call.parent
    if call.parents:
        record["parents"] = msgpack.packb(list(call.parents), use_bin_type=True)
    if call.reply_to:
        record["reply_to"] = keys.reply(call.reply_to)
    for name, unusual in (("no_retry", not call.retry), ("no_chain", not call.chain), ("chained", call.chained)):
        if unusual:
            record[name] = 1
    raw = message_for(spec, task_id, given, priority=priority, queued_ms=now_ms, root=root, parent=call.parent)
    target = keys.queue_list(spec.queue, keys.transport_priority(priority))
    fields = [part for pair in record.items() for part in pair]
    names = [keys.invocation(task_id), keys.queued(spec.queue, priority), keys.QUEUED, target]
    return Prepared(task_id, names, [task_id, now_ms, raw, *fields])


def _with_text_keys(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _with_text_keys(item) for key, item in value.items()}
    return [_with_text_keys(item) for item in value] if isinstance(value, list | tuple) else value


def message_for(
    spec: Function,
    task_id: str,
    arguments: Mapping[str, Any],
    *,
    priority: int,
    queued_ms: int,
    root: str,
    parent: str | None,
    keep_result: bool = False,
) -> bytes:
    """The Celery message of a (repeated) delivery."""
    return message.build(
        task_id,
        spec.name,
        arguments,
        queue=spec.queue,
        priority=priority,
        queued_ms=queued_ms,
        root=root,
        parent=parent,
        limits=(spec.timeout, spec.soft_timeout),
        keep_result=keep_result,
    )


def submit(client: redis.Redis, deployment: Deployment, call: Call) -> str:
    """Accept a call and return its id; an id that exists already is left alone. Raises BrokerDown, FunctionNotFound."""
    prepared = prepare(deployment, call, now_ms())
    with translated():
        scripts.run(client, "submit", prepared.keys, prepared.arguments)
    return prepared.id


async def submit_async(client: redis.asyncio.Redis, deployment: Deployment, call: Call) -> str:
    """`submit` for asyncio."""
    prepared = prepare(deployment, call, now_ms())
    with translated():
        await scripts.run_async(client, "submit", prepared.keys, prepared.arguments)
    return prepared.id


def submit_with(
    client: redis.Redis,
    deployment: Deployment,
    call: Call,
    guard: str,
    guard_keys: Sequence[str],
    guard_arguments: Sequence[Argument],
) -> str | None:
    """Submit in one atomic step with a claim of the caller's.

    `guard` is the body of a Lua function that sees its keys in GKEYS and its arguments in GARGV; it writes its
    claim and returns true, or returns false, and then nothing is submitted and the answer is None.
    Raises BrokerDown, FunctionNotFound.
    """
    prepared = prepare(deployment, call, now_ms())
    text = _GUARDED.format(guard=guard, submit=scripts.source("submit"))
    all_keys = [*prepared.keys, *guard_keys]
    arguments = [len(guard_arguments), *guard_arguments, *prepared.arguments]
    with translated():
        accepted = scripts.run_text(client, text, all_keys, arguments)
    return prepared.id if accepted == 1 else None


# The guard's keys come after the four of a submission, its arguments before; each part sees only its own.
_GUARDED = """
local GKEYS, GARGV, OWN = {{}}, {{}}, {{}}
for i = 5, #KEYS do GKEYS[i - 4] = KEYS[i] end
local count = tonumber(ARGV[1])
for i = 1, count do GARGV[i] = ARGV[i + 1] end
for i = count + 2, #ARGV do OWN[#OWN + 1] = ARGV[i] end
local function guard()
{guard}
end
local function submit(KEYS, ARGV)
{submit}
end
if not guard() then return 0 end
return submit(KEYS, OWN)
"""


def validate(deployed: Deployed, arguments: Mapping[str, Any]) -> None:
    """Check arguments against the function's JSON Schema. Raises InvalidArguments with every bad field."""
    found = itertools.islice(jsonschema_rs.iter_errors(deployed.schema, dict(arguments)), _MAX_ERRORS)
    errors = [FieldError(_field(error.instance_path) or "arguments", error.message) for error in found]
    if errors:
        raise InvalidArguments(errors)


def _field(path: Sequence[str | int]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def now_ms() -> int:
    return time.time_ns() // 1_000_000
