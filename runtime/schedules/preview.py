"""The next runs of a schedule, in its own time zone, with what daylight saving does to them. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from itertools import islice
from zoneinfo import ZoneInfo

from runtime.schedules.schedule import Schedule, moments
from runtime.values.crontime import change, fixed, named

_MOMENT = timedelta(microseconds=1)
_TELLING = timedelta(days=8)
"""Of a change that lies further back than the week before nobody wonders."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run to come. `tick` is the instant it is named by, `at` when it is submitted (`tick` and its jitter)."""

    tick: datetime
    at: datetime
    local: datetime
    """`at` in the schedule's own time zone."""
    note: str = ""


def next_runs(schedule: Schedule, now: datetime, count: int) -> list[Run]:
    """The runs after `now`, at most `count` of them. `now` is aware and in UTC, as are the instants."""
    return list(islice(_runs(schedule, now), count))


def _runs(schedule: Schedule, now: datetime) -> Iterator[Run]:
    zone = ZoneInfo(schedule.trigger.timezone)
    before = now
    for tick, at in moments(schedule, now - timedelta(seconds=schedule.trigger.jitter)):
        if at <= now:
            continue
        yield Run(tick, at, at.astimezone(zone), _note(schedule, zone, before, tick))
        before = tick


def _note(schedule: Schedule, zone: tzinfo, before: datetime, tick: datetime) -> str:
    """What daylight saving did between the run before and this one."""
    cron, wall = schedule.trigger.cron, _wall(tick, zone)
    if cron and fixed(cron) and _wall(tick - _MOMENT, zone) < wall - timedelta(minutes=1):
        skipped = named(cron, _wall(tick - _MOMENT, zone) + _MOMENT, wall)
        if skipped:
            times = " and ".join(f"{one:%H:%M}" for one in skipped)
            return f"the clocks skip {times}; it runs at {wall:%H:%M} instead"
    if cron and _twice(tick, zone):
        if fixed(cron):
            return f"{wall:%H:%M} comes twice, it runs the first time"
        return f"{wall:%H:%M} comes twice, this is the {'second' if tick.astimezone(zone).fold else 'first'} time"
    changed = change(zone, before, tick) if cron and tick - before <= _TELLING else None
    if changed is None:
        return ""
    old, new = _wall(changed - _MOMENT, zone) + _MOMENT, _wall(changed, zone)
    return f"the clocks go {'forward' if new > old else 'back'} before it, from {old:%H:%M} to {new:%H:%M}"


def _twice(tick: datetime, zone: tzinfo) -> bool:
    """Whether the wall shows this time twice (a time that is skipped has two offsets as well, but is never shown)."""
    local = tick.astimezone(zone)
    return local.utcoffset() != local.replace(fold=1 - local.fold).utcoffset()


def _wall(moment: datetime, zone: tzinfo) -> datetime:
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)
