"""How many invocations are in which state, and how many wait at which gate, counted at one moment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import redis
import redis.asyncio

from runtime.broker import scripts
from runtime.broker.connection import translated


@dataclass(frozen=True, slots=True)
class Census:
    """`states` has every state; `parked` the gates, those of keys, maps and tenants together: `key:FUNCTION`, `fan`,
    `tenant:QUEUE`."""

    states: Mapping[str, int] = field(default_factory=dict)
    parked: Mapping[str, int] = field(default_factory=dict)


def take(client: redis.Redis) -> Census:
    """Raises BrokerDown."""
    with translated():
        return _decode(scripts.run(client, "census", (), ()))


async def take_async(client: redis.asyncio.Redis) -> Census:
    """`take` for asyncio."""
    with translated():
        return _decode(await scripts.run_async(client, "census", (), ()))


def _decode(answer: Any) -> Census:
    states, parked = json.loads(answer[0]), dict[str, int]()
    for gate, count in zip(answer[1::2], answer[2::2], strict=True):
        name = _label(gate.decode())
        parked[name] = parked.get(name, 0) + count
    return Census(states, parked)


def _label(gate: str) -> str:
    """A gate without the part that can take any number of values."""
    kind, _, rest = gate.partition(":")
    if kind == "key":
        return f"key:{rest.partition(':')[0]}"
    if kind == "tenant":
        return f"tenant:{rest.partition(':')[0]}"
    return "fan" if kind == "fan" else gate
