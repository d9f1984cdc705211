"""Schedules, their names, and when they tick. Pure: the clock is handed in, all instants are aware and in UTC."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from runtime.config.settings import CronTrigger, Project
from runtime.errors import ScheduleNotFound
from runtime.values.crontime import comings
from runtime.values.nearest import nearest
from runtime.values.units import format_duration


@dataclass(frozen=True, slots=True)
class Schedule:
    """One cron trigger of one function. `name` is stable: the function and a hash of what is written in the YAML."""

    name: str
    function: str
    trigger: CronTrigger
    alone: bool = False
    """The function has no other schedule: its own name means this one, too."""

    @property
    def names(self) -> tuple[str, ...]:
        """What people may call it."""
        return (self.name, self.function) if self.alone else (self.name,)

    @property
    def expression(self) -> str:
        return self.trigger.cron or f"every {format_duration(self.trigger.every or 0)}"


def schedules(project: Project) -> list[Schedule]:
    """Every cron trigger of a project. Arguments are no part of the name, so that they may be edited."""
    found: dict[str, Schedule] = {}
    for function in project.functions.values():
        for trigger in function.crons:
            told = json.dumps([trigger.cron, trigger.every, trigger.timezone])
            name = base = f"{function.name}-{hashlib.sha256(told.encode()).hexdigest()[:8]}"
            count = 1
            while name in found:
                count += 1
                name = f"{base}-{count}"
            found[name] = Schedule(name, function.name, trigger, alone=len(function.crons) == 1)
    return list(found.values())


def find(project: Project, name: str) -> list[Schedule]:
    """The schedule of this name, or all those of the function of this name. Raises ScheduleNotFound."""
    known = schedules(project)
    found = [one for one in known if one.name == name] or [one for one in known if one.function == name]
    if not found:
        names = [word for one in known for word in (one.function, one.name)]
        raise ScheduleNotFound(f"There is no schedule {name}{nearest(name, dict.fromkeys(names))}")
    return found


def tick_name(tick: datetime) -> str:
    """A tick goes by the instant it is scheduled for: `2026-11-21T02:00:00Z`, with milliseconds where it has some."""
    spec = "milliseconds" if tick.microsecond else "seconds"
    return tick.astimezone(UTC).isoformat(timespec=spec).replace("+00:00", "Z")


def parse_tick(name: str) -> datetime:
    return datetime.fromisoformat(name)


def ticks(trigger: CronTrigger, after: datetime) -> Iterator[datetime]:
    """Every tick after an instant, in order."""
    if trigger.every:
        return _every(trigger.every, after)
    return comings(trigger.cron or "", trigger.timezone, after)


def jitter(schedule: str, tick: datetime, most: float) -> float:
    """By how many seconds this tick is put off: always the same, evenly spread over [0, most)."""
    digest = hashlib.sha256(f"{schedule} {tick_name(tick)}".encode()).digest()
    return most * int.from_bytes(digest[:8], "big") / 2**64


def moments(schedule: Schedule, after: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Every tick after an instant with the moment it is to be submitted at, both in order.

    Jitter puts a tick off, but never beyond the next one: a schedule keeps its order however much is asked for.
    """
    most, found = schedule.trigger.jitter, ticks(schedule.trigger, after)
    if not most:
        yield from ((tick, tick) for tick in found)
        return
    for tick, following in itertools.pairwise(found):
        shift = jitter(schedule.name, tick, min(most, (following - tick).total_seconds()))
        yield tick, tick + timedelta(seconds=shift)


def next_due(schedule: Schedule, after: datetime) -> datetime | None:
    """When the first tick after `after` is to be submitted; None for a schedule that never ticks again."""
    return next((moment for _, moment in moments(schedule, after)), None)


def _every(seconds: float, after: datetime) -> Iterator[datetime]:
    # In whole milliseconds: durations are no finer, and floats would drift over years.
    step = max(1, round(seconds * 1000))
    number = round(after.timestamp() * 1000) // step + 1
    while True:
        yield datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=number * step)
        number += 1
