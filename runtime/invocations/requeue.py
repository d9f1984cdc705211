"""Putting the message of a recorded invocation into its queue (again), once."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import redis

from runtime import keys
from runtime.broker import scripts
from runtime.deployment.deployment import Deployment
from runtime.invocations import message
from runtime.invocations.invocation import Invocation, decode, limits
from runtime.invocations.submit import message_for, now_ms


def requeue(
    client: redis.Redis,
    deployment: Deployment,
    task_id: str,
    *,
    reset: bool = False,
    states: Collection[str] | None = None,
) -> bool:
    """Queue an invocation that waits; with `reset` one that has ended, which then starts over under its own id.

    False: it is not there, it does not wait (or has not ended), is in none of `states`, its function is not declared,
    or somebody else was faster.
    """
    fields: Any = client.hgetall(keys.invocation(task_id))
    found = decode(task_id, fields)
    if found is None or found.function not in deployment.functions or found.terminal is not reset:
        return False
    if states is not None and found.state not in states:
        return False
    return push(client, deployment, found, fields, reset=reset)


def push(
    client: redis.Redis,
    deployment: Deployment,
    found: Invocation,
    fields: Mapping[bytes, bytes],
    *,
    reset: bool = False,
) -> bool:
    """`requeue` for a record that was read already; it must still be as it was read."""
    spec = deployment.functions[found.function].spec
    queued = now_ms()
    arguments: list[scripts.Argument] = [
        found.id,
        fields[b"state"],
        fields[b"fence"],
        fields[b"queued"],
        spec.queue,
        queued,
        message_of(deployment, found, fields, queued),
        keys.queue_list(spec.queue, keys.transport_priority(found.priority)),
        int(reset),
        *limits(deployment.settings.project.retention),
    ]
    return bool(scripts.run(client, "requeue", (), arguments))


def message_of(deployment: Deployment, found: Invocation, fields: Mapping[bytes, bytes], queued: int) -> bytes:
    """The message of one more delivery, as the function is declared now; another program's as it was sent."""
    sent = fields.get(b"foreign", message.BUILT)
    if sent != message.BUILT:
        return message.again(sent, priority=found.priority, queued_ms=queued)
    return message_for(
        deployment.functions[found.function].spec,
        found.id,
        found.arguments,
        priority=found.priority,
        queued_ms=queued,
        root=found.root,
        parent=found.parent,
        keep_result=b"foreign" in fields,
        compress_over=deployment.settings.project.broker.compress_over,
    )
