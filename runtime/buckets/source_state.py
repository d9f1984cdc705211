"""What wakes the triggers of a bucket just now, as `triggers` last said it; read only here.

The key `keys.source(bucket)` is a hash that lapses when no `triggers` process renews it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import redis
import redis.asyncio

from runtime import keys
from runtime.broker.connection import translated

TTL_SECONDS = 60


@dataclass(frozen=True, slots=True)
class SourceState:
    """`kind` is a source of functions.yaml (never `auto`); `woken`, whether its notifications can be relied on.

    `detail` is a sentence for people. Times are seconds since the epoch: `since` when the source began (0: it is
    broken), `heard` when the store last notified anybody (0: never), `missed` when a listing last found a change that
    nobody had announced. `by` is host:pid of the process that minds it.
    """

    bucket: str
    kind: str
    woken: bool
    detail: str
    since: float
    heard: float
    by: str
    missed: float = 0.0

    @property
    def standing(self) -> Literal["woken", "polled", "waiting", "silent"]:
        """In a word. A source that posts and never did is waited for, until a change shows that it should have."""
        if self.kind == "poll":
            return "polled"
        if self.woken:
            return "woken"
        return "waiting" if self.since and not self.heard and not self.missed else "silent"


def read(client: redis.Redis, buckets: Iterable[str]) -> dict[str, SourceState]:
    """The state of each bucket that a process minds. Raises BrokerDown."""
    names = list(buckets)
    with translated(), client.pipeline(transaction=False) as pipe:
        for bucket in names:
            pipe.hgetall(keys.source(bucket))
        return _decoded(names, pipe.execute())


async def read_async(client: redis.asyncio.Redis, buckets: Iterable[str]) -> dict[str, SourceState]:
    """`read` for asyncio."""
    names = list(buckets)
    with translated():
        async with client.pipeline(transaction=False) as pipe:
            for bucket in names:
                pipe.hgetall(keys.source(bucket))
            return _decoded(names, await pipe.execute())


def _decoded(buckets: list[str], found: Iterable[Any]) -> dict[str, SourceState]:
    pairs = zip(buckets, found, strict=True)
    return {bucket: decode(bucket, fields) for bucket, fields in pairs if fields.get(b"kind")}


def decode(bucket: str, fields: Mapping[bytes, bytes]) -> SourceState:
    """A state from the fields of its hash."""

    def text(name: bytes) -> str:
        return fields.get(name, b"").decode()

    return SourceState(
        bucket,
        text(b"kind"),
        text(b"woken") == "1",
        text(b"detail"),
        float(text(b"since") or 0),
        float(text(b"heard") or 0),
        text(b"by"),
        float(text(b"missed") or 0),
    )
