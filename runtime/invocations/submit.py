"""The one door into the queues: record and message in one atomic step, exactly in Celery's message format."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

import redis
import redis.asyncio

from runtime import keys
from runtime.broker import replication, scripts
from runtime.broker.connection import translated
from runtime.broker.scripts import Argument
from runtime.callers import tenant_limits
from runtime.config.settings import Function, Gather
from runtime.deployment.deployment import Deployment
from runtime.errors import KeyReused
from runtime.invocations import crowding, message, record
from runtime.invocations.invocation import Invocation, decode

if TYPE_CHECKING:
    from runtime.broker.wire import Wire


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A caller's key: `digest` stands for tenant, function, caller and key; `body` for the arguments (sha256 hex)."""

    digest: str
    body: str


@dataclass(slots=True)
class Call:
    """What somebody wants to be run. Never changed (`dataclasses.replace`), though not frozen: that takes 3 us a call.

    `reply_to` names the gateway whose caller waits for the answer; `retry=False` is for a caller who wants to hear
    of a failure rather than wait for the next attempt. `fan` is the map of a parent whose answers it belongs to.
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
    """It is the call that a chain waits for (runtime/invocations/chain.py)."""
    delay: float = 0.0
    """Seconds before it may be started."""
    expires: float | None = None
    """Seconds in which it must have been started; None: as the function says."""
    deadline: float | None = None
    """When nobody needs the answer any more, in seconds since the epoch: no attempt begins after it."""
    callback: str | None = None
    """The URL to which the answer is posted."""
    trace: str | None = None
    """W3C traceparent."""
    origin: str | None = None
    """The invocation that this one repeats."""
    event: Mapping[str, Any] | None = None
    """The attributes of the CloudEvent that it came as."""
    idempotency: Idempotency | None = None
    accepted: float | None = None
    """When it was accepted, in seconds since the epoch, if that was before now (by an outbox)."""
    arguments_ref: str | None = None
    """Where the arguments are, if they were too large for the record (runtime/invocations/blobs.py)."""
    hops: int = 0
    """Functions before it, one after the other, that were called by an object that a function wrote."""
    split: bool = False
    """Its objects are tried in smaller batches when it fails, so a failure is neither repeated nor a dead letter."""
    accept: str | None = None
    """The media type in which an array is wanted."""
    caller: str = ""
    """Whose key it came with, where its tenant's limits hold for it; empty: they do not."""
    confined: bool = False
    """It may see what is its tenant's only: so may all that it calls."""
    streamed: bool = False
    """The caller at `reply_to` takes the items of a generator as they come."""
    fan: str | None = None
    fan_index: int = 0
    in_flight: int = 0
    amount: float | None = None
    """By how much its end adds to the progress of its parent."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """An accepted call. `replayed`: it was known already, by its id or its idempotency key; `id` is the first one's."""

    id: str
    replayed: bool = False
    near: tenant_limits.Near | None = None
    """A quota that is nearly used up."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """The arguments of one submission's script."""

    id: str
    arguments: list[Argument]


def new_id() -> str:
    """A random UUID, version 4 of RFC 9562, in half of the time that `uuid` takes."""
    value = os.urandom(16)
    text = value.hex()
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{'89ab'[value[8] >> 6]}{text[17:20]}-{text[20:]}"


def prepare(deployment: Deployment, call: Call, now_ms: int) -> Prepared:
    """The record and the message of a call. Raises FunctionNotFound."""
    project = deployment.settings.project
    spec = deployment.find(call.function).spec
    task_id = call.id or new_id()
    priority = spec.priority if call.priority is None else call.priority
    root = call.root or task_id
    given = record.plain(call.arguments, call.trigger)
    over = project.broker.compress_over
    fields, until = record.fields(call, spec, given, priority=priority, root=root, now_ms=now_ms, compress_over=over)
    delay = math.ceil(call.delay * 1000)  # never none of what was asked for: the record says that it waits
    gate = f"fan:{call.fan}" if call.fan else ""
    raw: bytes | str = ""
    carrier = new_id() if record.is_gathered(call, spec) else ""
    if carrier:
        raw = carrier_message(spec, carrier, priority, now_ms)
    elif not delay and not gate:
        raw = message_for(
            spec,
            task_id,
            given,
            priority=priority,
            queued_ms=now_ms,
            root=root,
            parent=call.parent,
            compress_over=over,
        )
    key = call.idempotency
    arguments: list[Argument] = [
        task_id,
        call.function,
        spec.queue,
        priority,
        now_ms,
        root,
        raw,
        keys.queue_list(spec.queue, keys.transport_priority(priority)),
        delay,
        gate,
        "" if until is None else until,
        key.digest if key else "",
        key.body if key else "",
        int(project.retention.idempotency * 1000),
        carrier_policy(spec, carrier, call.tenant) if carrier else "",
        crowding.terms(project, spec, call, priority, fields.get("key")),
    ]
    return Prepared(task_id, [*arguments, *chain.from_iterable(fields.items())])


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
    compress_over: int | None = None,
) -> bytes:
    """The Celery message of a (repeated) delivery."""
    raw = message.build(
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
    return message.compressed(raw, compress_over)


def carrier_message(spec: Function, carrier: str, priority: int, queued_ms: int) -> bytes:
    """The message of a gathered call: it has no arguments, its record names the members."""
    return message_for(spec, carrier, {}, priority=priority, queued_ms=queued_ms, root=carrier, parent=None)


def carrier_policy(spec: Function, carrier: str, tenant: str) -> str:
    """The id of the next gathered call of a tenant, and when it goes, as the scripts read it."""
    policy = spec.gather or Gather()
    told = {"carrier": carrier, "most": policy.max_items, "window": int(policy.window * 1000), "tenant": tenant}
    return json.dumps(told)


def accept(client: redis.Redis, deployment: Deployment, call: Call) -> Accepted:
    """Record and queue a call, once. Raises BrokerDown, FunctionNotFound, KeyReused, LimitReached."""
    prepared = prepare(deployment, call, now_ms())
    with translated():
        return accepted_of(replication.run(client, "submit", prepared.arguments, _replicas(deployment)))


async def accept_async(
    client: redis.asyncio.Redis, deployment: Deployment, call: Call, wire: Wire | None = None
) -> Accepted:
    """`accept` for asyncio; over the wire, where there is one and no replica has to be waited for."""
    prepared, replicas = prepare(deployment, call, now_ms()), _replicas(deployment)
    with translated():
        return accepted_of(await replication.run_async(client, "submit", prepared.arguments, replicas, wire))


def submit(client: redis.Redis, deployment: Deployment, call: Call) -> str:
    """Accept a call and return its id; an id that exists already is left alone. Raises BrokerDown, FunctionNotFound."""
    return accept(client, deployment, call).id


async def submit_async(client: redis.asyncio.Redis, deployment: Deployment, call: Call) -> str:
    """`submit` for asyncio."""
    return (await accept_async(client, deployment, call)).id


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
    text = scripts.around(_GUARDED.format(guard=guard), new_work=True)
    arguments = [len(guard_arguments), *guard_arguments, *prepared.arguments]
    with translated():
        answer = scripts.run_text(client, text, guard_keys, arguments)
    return prepared.id if answer and answer[0] == b"new" else None


# The guard's arguments come before those of a submission; each part sees only its own.
_GUARDED = """
local GKEYS, GARGV, OWN = KEYS, {{}}, {{}}
local count = tonumber(ARGV[1])
for i = 1, count do GARGV[i] = ARGV[i + 1] end
for i = count + 2, #ARGV do OWN[#OWN + 1] = ARGV[i] end
local function guard()
{guard}
end
if not guard() then return false end
return submit(OWN)
"""


async def answer_async(client: redis.asyncio.Redis, digest: str) -> Invocation | None:
    """What is kept under an idempotency key once its invocation has ended, even if its record is gone by now."""
    with translated():
        fields: dict[bytes, bytes] = await client.hgetall(keys.idem(digest))  # type: ignore[assignment]
    return decode(fields[b"id"].decode(), fields) if b"state" in fields else None


def _replicas(deployment: Deployment) -> int:
    return deployment.settings.project.broker.replicas


def accepted_of(answer: Any) -> Accepted:
    """What lua/_submit.lua answers. Raises KeyReused, LimitReached."""
    if answer[0] == b"over":
        raise crowding.refused(answer[1])
    verdict, task_id = answer[0], answer[1].decode()
    if verdict == b"differs":
        raise KeyReused
    near = tenant_limits.near(answer[2]) if len(answer) > 2 else None
    return Accepted(task_id, replayed=verdict != b"new", near=near)


def now_ms() -> int:
    return time.time_ns() // 1_000_000
