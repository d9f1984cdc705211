"""Gates: concurrency, keys, rates, circuits and pauses. What waits at one occupies no worker.

Whether a gate is open is decided by one Lua step, when a worker claims a call (`claim`) and when a place may have
become free (`admit_next`: after an end, and by the upkeep).
"""

from __future__ import annotations

import json
from typing import Any

import redis

from runtime import keys
from runtime.broker import scripts
from runtime.config.settings import Function
from runtime.deployment.deployment import Deployment
from runtime.invocations.abandon import abandon
from runtime.invocations.invocation import decode, limits
from runtime.invocations.requeue import message_of
from runtime.invocations.submit import now_ms

_AT_ONCE = 100


def policy(spec: Function) -> str:
    """What a function's gates ask for, as the scripts read it: JSON, or nothing."""
    asked: dict[str, Any] = {}
    if spec.concurrency:
        asked["concurrency"] = spec.concurrency
    if spec.concurrency_key:
        asked["key"] = spec.concurrency_key.policy
    if spec.rate_limit:
        limit, seconds = spec.rate_limit
        asked["rate"] = seconds * 1e6 / limit  # microseconds between two starts
        asked["burst"] = max(1.0, limit / seconds)  # no more than a second's worth comes together
    if spec.circuit:
        asked["circuit"] = True
    return json.dumps(asked) if asked else ""


def admit_next(client: redis.Redis, deployment: Deployment, gate: str, most: int = _AT_ONCE) -> int:
    """Queue what waits longest at a gate, as long as it is open; how many.

    Calls of a function that is gone wait for it at its own gate, and not for ever.
    """
    waiting: Any = client.zrange(keys.parked(gate), 0, most - 1)
    admitted = 0
    for task_id in waiting:
        fields: Any = client.hgetall(keys.invocation(task_id.decode()))
        found = decode(task_id.decode(), fields)
        deployed = deployment.functions.get(found.function) if found else None
        if found is None or found.terminal:
            client.zrem(keys.parked(gate), task_id)
            continue
        if deployed is None:
            if gate != f"function:{found.function}":
                scripts.run(client, "aside", (), [found.id, gate])
            else:
                abandon(client, deployment, found, fields)
            continue
        queued = now_ms()
        arguments: list[scripts.Argument] = [
            found.id,
            gate,
            *limits(deployment.settings.project.retention),
            policy(deployed.spec),
            queued,
            message_of(deployment, found, fields, queued),
            keys.queue_list(deployed.spec.queue, keys.transport_priority(found.priority)),
            deployed.spec.queue,
        ]
        verdict = scripts.run(client, "admit", (), arguments)
        if verdict == 0:
            break
        admitted += verdict == 1
    return admitted


def gates(client: redis.Redis) -> list[str]:
    """Every gate at which something waits."""
    found: Any = client.smembers(keys.PARKED)
    return sorted(name.decode() for name in found)


def freed(client: redis.Redis) -> list[str]:
    """Gates at which a place became free, taken off the list of these."""
    found: Any = client.spop(keys.FREED, _AT_ONCE)
    return [name.decode() for name in found]


def free_dead_places(client: redis.Redis, gate: str) -> int:
    """Take places back from invocations that neither run nor wait (their record was removed by hand, say)."""
    held: Any = client.zrange(keys.holders(gate), 0, -1)
    if not held:
        return 0
    with client.pipeline(transaction=False) as pipe:
        for task_id in held:
            pipe.hget(keys.invocation(task_id.decode()), "state")
        states = pipe.execute()
    dead = [task for task, state in zip(held, states, strict=True) if state not in (b"queued", b"running", b"waiting")]
    return int(client.zrem(keys.holders(gate), *dead)) if dead else 0
