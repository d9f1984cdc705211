"""A recorded invocation once more: its arguments, and the call that repeats it under a new id."""

from __future__ import annotations

from typing import Any

import msgpack
import redis

from runtime import keys
from runtime.broker.connection import translated
from runtime.invocations.blobs import Blobs, by_reference
from runtime.invocations.invocation import Invocation
from runtime.invocations.submit import Call


def arguments_of(record: Invocation, blobs: Blobs) -> dict[str, Any]:
    """The arguments, wherever they are. Raises StoreDown, StoreDenied, ObjectMissing."""
    if record.arguments_ref is None:
        return record.arguments
    found: dict[str, Any] = msgpack.unpackb(blobs.get(record.arguments_ref), raw=False, strict_map_key=False)
    return found


def repeated(client: redis.Redis, blobs: Blobs, record: Invocation, task_id: str) -> Call:
    """The same call as a new one that names its origin: root of a tree of its own; same priority, parents and hops.

    Its times (delay, expiry, deadline), its callback and its idempotency key belonged to the first.
    Raises BrokerDown, and StoreDown, StoreDenied and ObjectMissing where the arguments are in the store.
    """
    with translated():
        found: Any = client.hmget(keys.invocation(record.id), "parents", "hops", "confined")
    packed, hops, confined = found
    call = Call(
        record.function,
        arguments_of(record, blobs),
        trigger=record.trigger,
        id=task_id,
        priority=record.priority,
        tenant=record.tenant,
        parents=msgpack.unpackb(packed, raw=False, strict_map_key=False) if packed else (),
        origin=record.id,
        event=record.event,
        hops=int(hops or 0),
        confined=confined is not None,
    )
    return by_reference(call, blobs)
