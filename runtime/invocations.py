"""Invocation records: one hash per invocation, its states, and how to read it.

accepted → queued → running → (retrying →) succeeded | failed | dead | cancelled | expired

`accepted` is recorded, but not in a queue yet: it waits for its time or at a gate (`waits` says for what). `waiting`
is a parent whose children are out; it holds no worker.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis
import redis.asyncio

from runtime import keys, packed_arguments
from runtime.broker import translated
from runtime.config import Retention
from runtime.trace_context import unpacked

TERMINAL = frozenset({"succeeded", "failed", "dead", "cancelled", "expired"})
_CELERY = {
    "accepted": "PENDING",
    "queued": "PENDING",
    "running": "STARTED",
    "waiting": "STARTED",
    "retrying": "RETRY",
    "succeeded": "SUCCESS",
    "failed": "FAILURE",
    "dead": "FAILURE",
    "expired": "FAILURE",
    "cancelled": "REVOKED",
}


def limits(retention: Retention) -> list[int]:
    """What every script that ends an invocation is told: two lives (ms), a count, the life of idempotency keys (ms)."""
    lives = (retention.succeeded, retention.failed, retention.idempotency)
    succeeded, failed, idempotency = (int(seconds * 1000) for seconds in lives)
    return [succeeded, failed, retention.count, idempotency]


@dataclass(frozen=True, slots=True)
class Invocation:
    """One invocation as it is recorded. Times are seconds since the epoch."""

    id: str
    function: str
    state: str
    queue: str
    priority: int
    tenant: str
    trigger: str
    attempts: int
    created: float
    queued: float
    started: float | None
    ended: float | None
    worker: str | None
    root: str
    parent: str | None
    arguments: dict[str, Any]
    result_json: bytes | None
    error: dict[str, Any] | None
    result_ref: str | None = None
    arguments_ref: str | None = None
    carrier: str | None = None
    """The gathered call that it goes with."""
    waits: str | None = None
    """Why it is accepted and not queued: delay, paused, concurrency, key, rate, circuit, gather, children, or function
    (it is not declared now)."""
    stop: str | None = None
    """The reason of a cancellation: asked for while it runs, or carried out."""
    due: float | None = None
    expires: float | None = None
    deadline: float | None = None
    callback: str | None = None
    trace: str | None = None
    origin: str | None = None
    event: dict[str, Any] | None = None
    progress: dict[str, Any] | None = None
    lost: int = 0
    """Attempts that ended with their worker."""
    result_type: str | None = None
    """The media type of a result that is a file; its `result_json` is a document of runtime/file_document.py."""
    items: int | None = None
    """How many items a generator has yielded."""
    version: str | None = None
    """Of the code that ran it last (runtime/code_version.py)."""
    split: bool = False
    """A batch of objects that is tried in smaller ones when it fails; its failure is no dead letter."""

    @property
    def terminal(self) -> bool:
        return self.state in TERMINAL

    @property
    def celery_status(self) -> str:
        return _CELERY[self.state]

    @property
    def seconds(self) -> float | None:
        """How long the last attempt ran."""
        return None if self.ended is None or self.started is None else max(0.0, round(self.ended - self.started, 3))


def decode(task_id: str, fields: Mapping[bytes, bytes]) -> Invocation | None:
    """A record from its hash; None where there is none."""
    if not fields:
        return None

    def text(name: str) -> str:
        return fields.get(name.encode(), b"").decode()

    def when(name: str) -> float | None:
        value = fields.get(name.encode())
        return int(value) / 1000 if value else None

    def told(name: str) -> Any:
        value = fields.get(name.encode())
        return json.loads(value) if value else None

    return Invocation(
        id=task_id,
        function=text("function"),
        state=text("state"),
        queue=text("queue"),
        priority=int(fields.get(b"priority", keys.DEFAULT_PRIORITY)),
        tenant=text("tenant"),
        trigger=text("trigger"),
        attempts=int(fields.get(b"attempts", 0)),
        created=when("created") or 0.0,
        queued=when("queued") or 0.0,
        started=when("started"),
        ended=when("ended"),
        worker=text("worker") or None,
        root=text("root"),
        parent=text("parent") or None,
        arguments=packed_arguments.unpack(fields.get(b"arguments", b"\x80")),
        result_json=fields.get(b"result"),
        error=None if fields.get(b"state") == b"succeeded" else told("error"),  # that of an attempt before
        result_ref=text("result_ref") or None,
        arguments_ref=text("arguments_ref") or None,
        carrier=text("carrier") or None,
        waits=text("waits") or None,
        stop=text("stop") or None,
        due=when("due"),
        expires=when("expires"),
        deadline=when("deadline"),
        callback=text("callback") or None,
        trace=unpacked(text("trace")) or None,
        origin=text("origin") or None,
        event=told("event"),
        progress=told("progress"),
        lost=int(fields.get(b"lost", 0)),
        result_type=text("result_type") or None,
        items=int(fields[b"items"]) if b"items" in fields else None,
        split=b"split" in fields,
        version=text("version") or None,
    )


def read(client: redis.Redis, task_id: str) -> Invocation | None:
    """Raises BrokerDown."""
    with translated():
        fields: dict[bytes, bytes] = client.hgetall(keys.invocation(task_id))  # type: ignore[assignment]
        return decode(task_id, fields)


def read_many(client: redis.Redis, task_ids: Iterable[str]) -> dict[str, Invocation | None]:
    """Many records in one round trip. Raises BrokerDown."""
    ids: Sequence[str] = list(task_ids)
    with translated(), client.pipeline(transaction=False) as pipe:
        for task_id in ids:
            pipe.hgetall(keys.invocation(task_id))
        return {task_id: decode(task_id, fields) for task_id, fields in zip(ids, pipe.execute(), strict=True)}


async def read_async(client: redis.asyncio.Redis, task_id: str) -> Invocation | None:
    """Raises BrokerDown."""
    with translated():
        fields: dict[bytes, bytes] = await client.hgetall(keys.invocation(task_id))  # type: ignore[assignment]
        return decode(task_id, fields)
