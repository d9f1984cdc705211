"""What was done lately, a line every ten seconds: calls that ended by function, how long they took, and the queues.

Kept for an hour, in a capped stream. A line names only what had something to do, so its size is bounded by that.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import redis
import redis.asyncio

from runtime import keys

EVERY_SECONDS = 10.0
LINES = 360

Spread = tuple[float, float]
"""The median and the 95th percentile, in seconds."""


@dataclass(frozen=True, slots=True)
class Work:
    """How the calls of one function ended within one line. `run` and `wait` are None where none was started."""

    succeeded: int = 0
    failed: int = 0
    run: Spread | None = None
    wait: Spread | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """One queue at the end of a line: what waits, what runs, and for how many seconds the oldest has waited."""

    queued: int = 0
    running: int = 0
    oldest: float = 0.0


@dataclass(frozen=True, slots=True)
class Line:
    """`at` is the end of the ten seconds, in seconds since the epoch, a multiple of them."""

    at: float
    functions: Mapping[str, Work] = field(default_factory=dict)
    queues: Mapping[str, Load] = field(default_factory=dict)


def write(client: redis.Redis, line: Line) -> bool:
    """Keep a line; False where another process has written this one, or a later one.

    What lies more than an hour ahead is from a clock that was wrong, and is thrown away.
    """
    told = json.dumps(
        {
            "functions": {name: [one.succeeded, one.failed, one.run, one.wait] for name, one in line.functions.items()},
            "queues": {name: [one.queued, one.running, one.oldest] for name, one in line.queues.items()},
        }
    )
    try:
        _add(client, line, told)
    except redis.ResponseError as error:
        if "equal or smaller" not in str(error):
            raise
        newest: Any = client.xrevrange(keys.HISTORY, count=1)
        if not newest or _at(newest[0][0]) < line.at + LINES * EVERY_SECONDS:
            return False
        client.delete(keys.HISTORY)
        _add(client, line, told)
    return True


def _add(client: redis.Redis, line: Line, told: str) -> None:
    client.xadd(keys.HISTORY, {"line": told}, id=f"{int(line.at * 1000)}-0", maxlen=LINES, approximate=False)


async def read_async(client: redis.asyncio.Redis, since: float) -> list[Line]:
    """The lines after `since` (seconds since the epoch), oldest first."""
    found: Any = await client.xrange(keys.HISTORY, min=f"({int(since * 1000)}", max="+")
    return [_decode(name, fields) for name, fields in found]


def series(lines: Iterable[Line], since: float, count: int) -> dict[str, Any]:
    """The lines as one list of `count` numbers for each quantity, from `since` on.

    None where no line was written, and where there is nothing to measure.
    """
    slots: list[Line | None] = [None] * count
    for line in lines:
        at = round((line.at - since) / EVERY_SECONDS) - 1
        if 0 <= at < count:
            slots[at] = line
    known = [slot for slot in slots if slot]
    functions = sorted({name for line in known for name in line.functions})
    queues = sorted({name for line in known for name in line.queues})
    return {
        "every": EVERY_SECONDS,
        "since": since,
        "count": count,
        "functions": {
            name: _work([slot.functions.get(name, Work()) if slot else None for slot in slots]) for name in functions
        },
        "queues": {name: _load([slot.queues.get(name, Load()) if slot else None for slot in slots]) for name in queues},
    }


def _work(found: Sequence[Work | None]) -> dict[str, Any]:
    spreads = {
        name: {part: [_part(one, name, at) for one in found] for at, part in enumerate(("p50", "p95"))}
        for name in ("run", "wait")
    }
    counts = {name: [one and getattr(one, name) for one in found] for name in ("succeeded", "failed")}
    return counts | spreads


def _part(work: Work | None, name: str, at: int) -> float | None:
    spread: Spread | None = getattr(work, name, None)
    return spread[at] if spread else None


def _load(found: Sequence[Load | None]) -> dict[str, Any]:
    return {name: [one and getattr(one, name) for one in found] for name in ("queued", "running", "oldest")}


def _decode(name: bytes, fields: Mapping[bytes, bytes]) -> Line:
    told = json.loads(fields[b"line"])
    return Line(
        _at(name),
        {function: Work(one[0], one[1], _pair(one[2]), _pair(one[3])) for function, one in told["functions"].items()},
        {queue: Load(*one) for queue, one in told["queues"].items()},
    )


def _at(name: bytes) -> float:
    """When the line of an entry ended, in seconds since the epoch."""
    return int(name.partition(b"-")[0]) / 1000


def _pair(found: list[float] | None) -> Spread | None:
    return (found[0], found[1]) if found else None
