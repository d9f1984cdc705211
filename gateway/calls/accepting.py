"""Accepting a call that nobody waits for: into its queue, or into the outbox while the broker is away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgpack

from runtime.errors import BrokerDown, BrokerFull
from runtime.invocations.invocation import Invocation, decode, read_async
from runtime.invocations.submit import Accepted, Call, accept_async, new_id
from runtime.invocations.submit_many import TOGETHER, accept_many_async

if TYPE_CHECKING:
    from gateway.state import Gateway
    from runtime.outbox.kept_call import Kept


@dataclass(frozen=True, slots=True)
class Taken:
    """An accepted call. `kept`: it is in the outbox, and nothing will come of it before the broker is back."""

    id: str
    replayed: bool = False
    kept: bool = False


async def submit(gateway: Gateway, call: Call) -> Accepted:
    """Record and queue a call. Raises FunctionNotFound, KeyReused, LimitReached, BrokerDown."""
    accepted = await accept_async(gateway.redis, gateway.deployment, call, gateway.wire)
    if not accepted.replayed:
        gateway.quota_notes.note(call.tenant, accepted.near)
    return accepted


async def accept_call(gateway: Gateway, call: Call) -> Taken:
    """Accept a call. It has its id from here on, so that one whose answer was lost on the way is not run twice.

    Raises FunctionNotFound, KeyReused, LimitReached, BrokerFull, and BrokerDown where the outbox is off, full or cannot
    help: an idempotency key cannot be checked without the broker, and its caller may safely repeat the call.
    """
    if not call.id:
        call = replace(call, id=new_id())
    keepable = gateway.project.outbox.enabled and call.idempotency is None
    if not (keepable and gateway.courier.away):
        try:
            accepted = await submit(gateway, call)
        except BrokerFull:
            raise
        except BrokerDown:
            if not keepable:
                raise
            gateway.courier.broker_is_away()
        else:
            return Taken(accepted.id, accepted.replayed)
    await gateway.courier.keep(call)
    return Taken(str(call.id), kept=True)


async def accept_in_order(gateway: Gateway, calls: Sequence[Call], ids: list[str]) -> None:
    """Accept calls that have their ids, none behind the first that is refused; `ids` gets those of the accepted ones.

    Raises as accept_call.
    """
    for first in range(0, len(calls), TOGETHER):
        part = calls[first : first + TOGETHER]
        if not gateway.courier.away:
            try:
                taken, refusal = await accept_many_async(gateway.redis, gateway.deployment, part, gateway.wire)
            except BrokerFull:
                raise
            except BrokerDown:
                pass  # one by one: those that it has are known by their ids, and the others may wait in the outbox
            else:
                for call, one in zip(part, taken, strict=False):
                    ids.append(one.id)
                    if not one.replayed:
                        gateway.quota_notes.note(call.tenant, one.near)
                if refusal:
                    raise refusal
                continue
        for call in part:
            ids.append((await accept_call(gateway, call)).id)


async def find(gateway: Gateway, task_id: str) -> Invocation | None:
    """The record of a call, or what the outbox knows of it. Raises BrokerDown."""
    # The outbox first: what is delivered after this look is in the broker at the next.
    kept = await gateway.courier.find(task_id)
    if kept is not None and gateway.courier.away:
        return _as_invocation(kept)
    try:
        record = await read_async(gateway.redis, task_id)
    except BrokerDown:
        if kept is None:
            raise
        record = None
    return record or (None if kept is None else _as_invocation(kept))


def _as_invocation(kept: Kept) -> Invocation | None:
    call, accepted = kept.call, int(kept.accepted * 1000)
    told: Mapping[str, str | int | None] = {
        "function": call.function,
        "state": "accepted",
        "waits": "broker",
        "queue": kept.queue,
        "priority": kept.priority,
        "tenant": call.tenant,
        "trigger": call.trigger,
        "created": accepted,
        "queued": accepted,
        "root": call.root or kept.id,
        "parent": call.parent,
    }
    fields = {name.encode(): str(value).encode() for name, value in told.items() if value is not None}
    return decode(kept.id, {**fields, b"arguments": msgpack.packb(dict(call.arguments))})
