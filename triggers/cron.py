"""When a schedule ticks. Pure: the clock is handed in, all instants are aware and in UTC.

Time zones and DST, as in Debian's cron. A schedule whose minute and hour are both given (`30 2 * * *`) runs
exactly once a day: what falls into the hour that is skipped in spring runs at the first moment after it (in
Berlin at 03:00), what falls into the hour that comes twice in autumn runs in its first pass. A schedule with a
star in minute or hour (`*/15 * * * *`, `0 * * * *`) follows the real time that passes: none in the skipped hour,
and both passes of the repeated one. Schedules in UTC know no DST.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim

from runtime.config import CronTrigger, Project
from runtime.config_check import ALIASES

ON_TIME_SECONDS = 10.0
"""A tick that is submitted later than this was missed: `catch_up` says whether it is made up for."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """One cron trigger of one function. `name` is stable: the function and a hash of what is written in the YAML."""

    name: str
    function: str
    trigger: CronTrigger


@dataclass(frozen=True, slots=True)
class Due:
    """Ticks to submit now, and the newest tick that needs no second look."""

    ticks: list[datetime]
    seen: datetime


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
            found[name] = Schedule(name, function.name, trigger)
    return list(found.values())


def tick_name(tick: datetime) -> str:
    """A tick goes by the instant it is scheduled for: `2026-11-21T02:00:00Z`, with milliseconds where it has some."""
    spec = "milliseconds" if tick.microsecond else "seconds"
    return tick.astimezone(UTC).isoformat(timespec=spec).replace("+00:00", "Z")


def parse_tick(name: str) -> datetime:
    return datetime.fromisoformat(name)


def ticks(trigger: CronTrigger, after: datetime) -> Iterator[datetime]:
    """Every tick after an instant, in order."""
    return _every(trigger.every, after) if trigger.every else _cron(trigger, after)


def jitter(schedule: str, tick: datetime, most: float) -> float:
    """By how many seconds this tick is put off: always the same, evenly spread over [0, most)."""
    digest = hashlib.sha256(f"{schedule} {tick_name(tick)}".encode()).digest()
    return most * int.from_bytes(digest[:8], "big") / 2**64


def next_due(schedule: Schedule, after: datetime) -> datetime | None:
    """When the first tick after `after` is to be submitted; None for a schedule that never ticks again."""
    tick = next(ticks(schedule.trigger, after), None)
    return None if tick is None else _moment(schedule, tick)


def due_ticks(schedule: Schedule, after: datetime, now: datetime) -> Due:
    """What is due, `after` being the newest tick that was looked at before.

    That is every tick whose moment is at most 10 s past. Where there is none, the clock was away: then the latest
    missed tick, if its moment is no more than `catch_up` past; the ones before it are gone.
    """
    trigger = schedule.trigger
    # What is older can no more be due: a week of absence is not counted through. (One second more, as `ticks`
    # begins after its instant.)
    window = timedelta(seconds=max(ON_TIME_SECONDS, trigger.catch_up) + trigger.jitter + 1)
    found, seen = [], after
    for tick in ticks(trigger, max(after, now - window)):
        if _moment(schedule, tick) > now:
            break
        found.append(tick)
        seen = tick
    on_time = [tick for tick in found if now - _moment(schedule, tick) <= timedelta(seconds=ON_TIME_SECONDS)]
    if on_time or not found:
        return Due(on_time, seen)
    late = now - _moment(schedule, found[-1])
    return Due(found[-1:] if late <= timedelta(seconds=trigger.catch_up) else [], seen)


def _moment(schedule: Schedule, tick: datetime) -> datetime:
    most = schedule.trigger.jitter
    return tick + timedelta(seconds=jitter(schedule.name, tick, most)) if most else tick


def _every(seconds: float, after: datetime) -> Iterator[datetime]:
    # In whole milliseconds: durations are no finer, and floats would drift over years.
    step = max(1, round(seconds * 1000))
    number = round(after.timestamp() * 1000) // step + 1
    while True:
        yield datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=number * step)
        number += 1


def _cron(trigger: CronTrigger, after: datetime) -> Iterator[datetime]:
    zone = UTC if trigger.timezone == "UTC" else ZoneInfo(trigger.timezone)
    last = after
    # Local times may go backwards, and two of them may be moved to one instant: only what is later counts.
    expression = ALIASES.get(trigger.cron or "", trigger.cron or "")
    for local in CronSim(expression, after.astimezone(zone)):
        tick = local.astimezone(UTC)
        if tick > last:
            yield tick
            last = tick
