"""Invocation records: one hash per invocation, its states, and how to read it.

accepted → queued → running → (retrying →) succeeded | failed | dead | cancelled | expired

`accepted` is recorded, but not in a queue yet: it waits for its time or at a gate (`waits` says for what). `waiting`
is a parent whose children are out; it holds no worker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis
import redis.asyncio

from runtime import keys
from runtime.broker.connection import translated
from runtime.config.settings import Retention
from runtime.invocations import packed_arguments
from runtime.values.legible import loads
from runtime.values.trace_context import unpacked

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
    succeeded, failed, idempotency = retention.succeeded, retention.failed, retention.idempotency
    return [int(succeeded * 1000), int(failed * 1000), retention.count, int(idempotency * 1000)]


def _seconds(value: bytes) -> float:
    return int(value) / 1000


_TEXTS = (
    "function state queue tenant trigger worker root parent result_ref arguments_ref carrier waits stop callback "
    "origin result_type version"
)
_MOMENTS = ("created", "queued", "started", "ended", "due", "expires", "deadline")
_FIELDS: Mapping[bytes, tuple[str, Callable[[bytes], Any]]] = {
    **{name.encode(): (name, bytes.decode) for name in _TEXTS.split()},
    **{name.encode(): (name, int) for name in ("priority", "attempts", "lost", "items")},
    **{name.encode(): (name, _seconds) for name in _MOMENTS},
    **{name.encode(): (name, loads) for name in ("event", "progress")},
    b"arguments": ("arguments", packed_arguments.unpack),
    b"trace": ("trace", lambda value: unpacked(value.decode()) or None),
    b"split": ("split", bool),
}
"""How the fields of a record are read."""

_MISSING: Mapping[str, Any] = {
    **dict.fromkeys(("function", "state", "queue", "tenant", "trigger", "root"), ""),
    **dict.fromkeys(("started", "ended", "worker", "parent", "error")),
    "priority": keys.DEFAULT_PRIORITY,
    "attempts": 0,
    "created": 0.0,
    "queued": 0.0,
}


@dataclass(slots=True)
class Invocation:
    """One invocation as it is recorded. Times are seconds since the epoch.

    Nobody changes one. It is not frozen all the same: each answer of the gateway makes one, in a fifth of the time.
    """

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
    """Of the code that ran it last (runtime/deployment/code_version.py)."""
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
    """A record from its hash; None where there is none. What is empty counts as missing."""
    if not fields:
        return None
    found: dict[str, Any] = {**_MISSING, "id": task_id, "arguments": {}}
    for name, value in fields.items():
        if value and (known := _FIELDS.get(name)):
            found[known[0]] = known[1](value)
    if (error := fields.get(b"error")) and found["state"] != "succeeded":  # else it is that of an attempt before
        found["error"] = loads(error)
    return Invocation(**found, result_json=fields.get(b"result"))


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
