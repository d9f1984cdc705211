"""What rests: functions and queues (their calls wait at a gate), bucket triggers and schedules."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import redis
import redis.asyncio

from runtime import keys
from runtime.broker.connection import translated

KINDS = ("function", "queue", "trigger", "schedule")
Paused = dict[tuple[str, str], dict[str, Any]]
"""(kind, name) → {"since": seconds since the epoch, "reason": text}"""


def pause(client: redis.Redis, kind: str, name: str, reason: str = "") -> None:
    """Let something rest: what is accepted waits. Raises BrokerDown."""
    with translated():
        client.hset(keys.PAUSED, _field(kind, name), _word(reason))


def resume(client: redis.Redis, kind: str, name: str) -> bool:
    """Let it go on; False where it did not rest. Raises BrokerDown."""
    with translated():
        return bool(client.hdel(keys.PAUSED, _field(kind, name)))


def paused(client: redis.Redis) -> Paused:
    """Everything that rests. Raises BrokerDown."""
    with translated():
        found: Any = client.hgetall(keys.PAUSED)
        return _decode(found)


async def pause_async(client: redis.asyncio.Redis, kind: str, name: str, reason: str = "") -> None:
    """`pause` for asyncio."""
    with translated():
        await client.hset(keys.PAUSED, _field(kind, name), _word(reason))


async def resume_async(client: redis.asyncio.Redis, kind: str, name: str) -> bool:
    """`resume` for asyncio."""
    with translated():
        return bool(await client.hdel(keys.PAUSED, _field(kind, name)))


async def paused_async(client: redis.asyncio.Redis) -> Paused:
    """`paused` for asyncio."""
    with translated():
        found: Any = await client.hgetall(keys.PAUSED)
        return _decode(found)


def _field(kind: str, name: str) -> str:
    if kind not in KINDS:
        raise ValueError(f"{kind!r} cannot be paused; there is {', '.join(KINDS)}")
    return f"{kind}:{name}"


def _word(reason: str) -> str:
    return json.dumps({"since": time.time(), "reason": reason[:500]})


def _decode(fields: Mapping[bytes, bytes]) -> Paused:
    found: Paused = {}
    for field, word in fields.items():
        kind, _, name = field.decode().partition(":")
        found[kind, name] = json.loads(word)
    return found
