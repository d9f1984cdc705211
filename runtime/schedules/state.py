"""What became of a schedule's ticks: one hash a schedule, written by the clocks, read by the gateway.

Fields: `seen` and `tick` (ms: newest tick that was looked at, newest that was submitted), `task` (its invocation),
`late` (its lateness in seconds), the counters `submitted`, `skipped`, `missed`, and a histogram of lateness:
`late_sum` and one counter for each bound of LATE_BOUNDS that was the first not below a tick's lateness.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import redis.asyncio

from runtime import keys
from runtime.broker.connection import translated
from runtime.schedules.schedule import Schedule

LATE_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0, 3600.0, float("inf"))
"""Seconds. What is later than ten was made up for after an interruption."""

KEPT_SECONDS = 400 * 86400
"""A schedule that was taken out of functions.yaml is forgotten after so long; one that ticks yearly is not."""


@dataclass(frozen=True, slots=True)
class ScheduleState:
    """The state of one schedule; times are seconds since the epoch. `state` is that of the newest invocation, None
    where its record is no longer kept. `counts` belong to LATE_BOUNDS."""

    tick: float | None = None
    task: str | None = None
    state: str | None = None
    late: float | None = None
    submitted: int = 0
    skipped: int = 0
    missed: int = 0
    late_sum: float = 0.0
    counts: Sequence[int] = field(default=(0,) * len(LATE_BOUNDS))


def late_field(seconds: float) -> str:
    """The counter in which a lateness counts."""
    return f"late:{LATE_BOUNDS[bisect_left(LATE_BOUNDS, seconds)]:g}"


async def read_async(client: redis.asyncio.Redis, schedules: Sequence[Schedule]) -> dict[str, ScheduleState]:
    """The state of each schedule by its name, in two round trips. Raises BrokerDown."""
    with translated():
        async with client.pipeline(transaction=False) as pipe:
            for schedule in schedules:
                pipe.hgetall(keys.schedule(schedule.name))
            hashes: list[dict[bytes, bytes]] = await pipe.execute()
            for fields in hashes:
                pipe.hget(keys.invocation(fields.get(b"task", b"").decode()), "state")
            states: list[bytes | None] = await pipe.execute()
    return {
        schedule.name: decode(fields, state.decode() if state else None)
        for schedule, fields, state in zip(schedules, hashes, states, strict=True)
    }


def decode(fields: Mapping[bytes, bytes], state: str | None = None) -> ScheduleState:
    """A state from its hash, and from that of its newest invocation."""

    def number(name: str) -> Any:
        value = fields.get(name.encode())
        return float(value) if value else None

    return ScheduleState(
        tick=number("tick") / 1000 if b"tick" in fields else None,
        task=fields[b"task"].decode() if b"task" in fields else None,
        state=state,
        late=number("late"),
        submitted=int(fields.get(b"submitted", 0)),
        skipped=int(fields.get(b"skipped", 0)),
        missed=int(fields.get(b"missed", 0)),
        late_sum=number("late_sum") or 0.0,
        counts=[int(fields.get(f"late:{bound:g}".encode(), 0)) for bound in LATE_BOUNDS],
    )
