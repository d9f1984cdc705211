"""Emptying a queue: what waits in it ends as cancelled, and its messages go.

Calls that wait for a retry or for their time are not in a queue and stay. `celery purge` knows nothing of records:
it takes messages alone, which is a loss like any other, and the reaper puts them back.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from runtime import keys
from runtime.broker.connection import translated
from runtime.deployment.deployment import Deployment
from runtime.invocations.cancel import cancel
from runtime.invocations.invocation import TERMINAL

CHUNK = 500
REASON = "its queue was purged"


@dataclass(frozen=True, slots=True)
class Purged:
    """How many invocations were cancelled and how many messages removed; `more`: the limit was reached."""

    cancelled: int
    messages: int
    more: bool


def purge(client: redis.Redis, deployment: Deployment, queue: str, limit: int = 10_000) -> Purged:
    """Cancel at most `limit` invocations that wait in `queue` or at a gate before it. Raises BrokerDown."""
    cancelled, left = 0, limit
    with translated():
        for task_id in _waiting(client, queue):
            if not left:
                break
            left -= 1
            cancelled += cancel(client, deployment, task_id, REASON) == "cancelled"
        removed = sum(_sweep(client, name, whole=left > 0) for name in keys.queue_lists(queue))
    return Purged(cancelled, removed, more=not left)


def _waiting(client: redis.Redis, queue: str) -> Iterator[str]:
    """Ids in the lists of a queue, and those that wait at a gate and would go there."""
    for priority in keys.PRIORITY_STEPS:
        for ids in _pages(client, keys.queued(queue, priority)):
            yield from ids
    gates: Any = client.smembers(keys.PARKED)
    for gate in gates:
        for ids in _pages(client, keys.parked(gate.decode())):
            with client.pipeline(transaction=False) as pipe:
                for task_id in ids:
                    pipe.hget(keys.invocation(task_id), "queue")
                queues: list[Any] = pipe.execute()
            yield from (one for one, found in zip(ids, queues, strict=True) if found == queue.encode())


def _pages(client: redis.Redis, name: str) -> Iterator[list[str]]:
    """Its members, the oldest first, some at a time: there may be a million. What is cancelled meanwhile leaves it."""
    stayed = 0
    while page := _part(client, name, stayed):
        yield [task_id.decode() for task_id in page]
        scores: Any = client.zmscore(name, page)  # type: ignore[arg-type]
        stayed += sum(score is not None for score in scores)


def _part(client: redis.Redis, name: str, first: int) -> list[bytes]:
    found: Any = client.zrange(name, first, first + CHUNK - 1)
    return list(found)


def _sweep(client: redis.Redis, target: str, *, whole: bool) -> int:
    """Take out of one list every message whose invocation has ended or was never recorded. How many there were.

    What was cancelled is the oldest: unless it is to be `whole`, the search ends where nothing is found.
    """
    removed = kept = 0
    while True:
        raw: Any = client.lrange(target, -kept - CHUNK, -kept - 1)
        gone = _gone(client, raw)
        with client.pipeline(transaction=False) as pipe:
            for one in reversed(gone):  # oldest first, where the search begins: no step is long
                pipe.lrem(target, -1, one)  # type: ignore[arg-type]
            removed += int(sum(pipe.execute()))
        kept += len(raw) - len(gone)
        if len(raw) < CHUNK or not (gone or whole):
            return removed


def _gone(client: redis.Redis, raw: Sequence[bytes]) -> list[bytes]:
    with client.pipeline(transaction=False) as pipe:
        for one in raw:
            pipe.hget(keys.invocation(_id(one)), "state")
        states: list[Any] = pipe.execute()
    return [one for one, state in zip(raw, states, strict=True) if state is None or state.decode() in TERMINAL]


def _id(raw: bytes) -> str:
    try:
        return str(json.loads(raw)["headers"]["id"])
    except (ValueError, KeyError, TypeError):
        return ""  # what is no message of Celery's is of no use to any worker
