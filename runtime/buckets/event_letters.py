"""Bucket notifications that nobody could use: kept for a person to look at, the newest few hundred.

They are hints like all others, so nothing hangs on them: what they were about is found by the listing.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import redis
import redis.asyncio

from runtime import keys
from runtime.broker.connection import translated
from runtime.errors import BrokerDown

KEPT = 500
BODY_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Letter:
    """One notification as it came in (its first 64 KiB), why it was of no use, and when (seconds since the epoch)."""

    id: str
    source: str
    body: bytes
    reason: str
    at: float


def keep(client: redis.Redis, source: str, body: bytes, reason: str) -> None:
    """Put one aside, if the broker takes it: nobody waits for a letter that is of no use."""
    with contextlib.suppress(BrokerDown), translated():
        client.xadd(keys.EVENTS_DEAD, _fields(source, body, reason), maxlen=KEPT, approximate=False)


async def keep_async(client: redis.asyncio.Redis, source: str, body: bytes, reason: str) -> None:
    """`keep` for asyncio."""
    with contextlib.suppress(BrokerDown), translated():
        await client.xadd(keys.EVENTS_DEAD, _fields(source, body, reason), maxlen=KEPT, approximate=False)


def read(client: redis.Redis, count: int = KEPT, before: str = "") -> list[Letter]:
    """At most `count`, newest first; `before` is the id of the last one of the page before. Raises BrokerDown."""
    with translated():
        return _decoded(client.xrevrange(keys.EVENTS_DEAD, _newest(before), "-", count))


async def read_async(client: redis.asyncio.Redis, count: int = KEPT, before: str = "") -> list[Letter]:
    """`read` for asyncio."""
    with translated():
        return _decoded(await client.xrevrange(keys.EVENTS_DEAD, _newest(before), "-", count))


def purge(client: redis.Redis) -> int:
    """Throw all of them away; says how many there were. Raises BrokerDown."""
    with translated(), client.pipeline() as pipe:
        pipe.xlen(keys.EVENTS_DEAD)
        pipe.delete(keys.EVENTS_DEAD)
        return int(pipe.execute()[0])


async def purge_async(client: redis.asyncio.Redis) -> int:
    """`purge` for asyncio."""
    with translated():
        async with client.pipeline() as pipe:
            pipe.xlen(keys.EVENTS_DEAD)
            pipe.delete(keys.EVENTS_DEAD)
            return int((await pipe.execute())[0])


def _newest(before: str) -> str:
    return f"({before}" if before else "+"


def _fields(source: str, body: bytes, reason: str) -> dict[Any, Any]:
    return {"source": source, "body": body[:BODY_BYTES], "reason": reason}


def _decoded(entries: Any) -> list[Letter]:
    return [
        Letter(
            entry_id.decode(),
            fields[b"source"].decode(errors="replace"),
            fields[b"body"],
            fields[b"reason"].decode(errors="replace"),
            int(entry_id.partition(b"-")[0]) / 1000,
        )
        for entry_id, fields in entries
    ]
