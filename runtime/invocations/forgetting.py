"""What is over is forgotten: terminal records whose time has passed, and what hangs on them."""

from __future__ import annotations

from typing import Any

import redis

from runtime import keys
from runtime.broker import scripts
from runtime.deployment.deployment import Deployment
from runtime.invocations.invocation import TERMINAL
from runtime.invocations.submit import now_ms

_BATCH = 500
_ROUNDS = 20
"""Batches of one state in one look: after retention was cut short, there may be very many."""

_LOOK_AT = 50


def forget(client: redis.Redis, deployment: Deployment) -> None:
    """Remove what `retention` no longer keeps."""
    retention = deployment.settings.project.retention
    for state in sorted(TERMINAL):
        life = retention.succeeded if state == "succeeded" else retention.failed
        for _ in range(_ROUNDS):
            old: Any = client.zrangebyscore(keys.ended(state), "-inf", now_ms() - int(life * 1000), start=0, num=_BATCH)
            surplus: Any = client.zcard(keys.ended(state)) - retention.count
            if surplus > 0:
                old = {*old, *client.zrange(keys.ended(state), 0, min(surplus, _BATCH) - 1)}
            if old:
                scripts.run(client, "forget", (), [state, *old])
            if len(old) < _BATCH:
                break


def sweep(client: redis.Redis, deployment: Deployment) -> int:
    """Take ids off the lists whose record is gone by its own life, because there was no upkeep for a day; how many."""
    removed = 0
    for name in (keys.ALL, *(keys.by_function(function) for function in deployment.functions)):
        oldest: Any = client.zrange(name, 0, _LOOK_AT - 1)
        if not oldest:
            continue
        with client.pipeline(transaction=False) as pipe:
            for task_id in oldest:
                pipe.exists(keys.invocation(task_id.decode()))
            there = pipe.execute()
        gone = [task_id for task_id, found in zip(oldest, there, strict=True) if not found]
        removed += int(client.zrem(name, *gone)) if gone else 0
    return removed
