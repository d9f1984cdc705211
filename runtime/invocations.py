"""Invocation records: one hash per invocation, its states, and how to read it.

accepted → queued → running → (retrying →) succeeded | failed | dead | cancelled | expired
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack
import redis
import redis.asyncio

from runtime import keys
from runtime.broker import translated

TERMINAL = frozenset({"succeeded", "failed", "dead", "cancelled", "expired"})
_CELERY = {
    "queued": "PENDING",
    "running": "STARTED",
    "retrying": "RETRY",
    "succeeded": "SUCCESS",
    "failed": "FAILURE",
    "dead": "FAILURE",
    "expired": "FAILURE",
    "cancelled": "REVOKED",
}

SUCCESS_KEPT_SECONDS = 3600.0
FAILURE_KEPT_SECONDS = 7 * 86400.0
ENDED_CAP = 10_000
"""Terminal records kept of each state; the oldest leave first."""


def kept_seconds(state: str) -> float:
    """How long a terminal record is kept."""
    return SUCCESS_KEPT_SECONDS if state == "succeeded" else FAILURE_KEPT_SECONDS


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

    @property
    def terminal(self) -> bool:
        return self.state in TERMINAL

    @property
    def celery_status(self) -> str:
        return _CELERY[self.state]

    @property
    def seconds(self) -> float | None:
        """How long the last attempt ran."""
        return None if self.ended is None or self.started is None else max(0.0, self.ended - self.started)


def decode(task_id: str, fields: Mapping[bytes, bytes]) -> Invocation | None:
    """A record from its hash; None where there is none."""
    if not fields:
        return None

    def text(name: str) -> str:
        return fields.get(name.encode(), b"").decode()

    def when(name: str) -> float | None:
        value = fields.get(name.encode())
        return int(value) / 1000 if value else None

    error = fields.get(b"error")
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
        arguments=msgpack.unpackb(fields.get(b"arguments", b"\x80"), raw=False, strict_map_key=False),
        result_json=fields.get(b"result"),
        error=json.loads(error) if error else None,
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
