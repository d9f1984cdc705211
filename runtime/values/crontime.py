"""When a cron expression comes, in a time zone. Pure: instants are aware and in UTC.

Daylight saving, as in Debian's cron. An expression whose minute and hour are both given (`30 2 * * *`) comes once
a day: what falls into the hour that is skipped in spring comes at the first moment after it (in Berlin at 03:00),
what falls into the hour that there is twice in autumn comes in its first pass. An expression with a star in front
of minute or hour (`*/15 * * * *`, `0 * * * *`) follows the real time that passes: none in the skipped hour, and
both passes of the repeated one. UTC knows no daylight saving.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from cronsim import CronSim

ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_SECOND, _DAY = timedelta(seconds=1), timedelta(days=1)


def comings(cron: str, timezone: str, after: datetime) -> Iterator[datetime]:
    """Every instant after `after` at which the expression comes, in order."""
    expression = ALIASES.get(cron, cron)
    if timezone == "UTC":
        return (found.astimezone(UTC) for found in CronSim(expression, after.astimezone(UTC)))
    zone = ZoneInfo(timezone)
    return (_fixed if fixed(cron) else _passing)(expression, zone, after)


def fixed(cron: str) -> bool:
    """Whether the expression names times of the day, rather than steps of the time that passes."""
    minute, hour, *_ = ALIASES.get(cron, cron).split()
    return not minute.startswith("*") and not hour.startswith("*")


def named(cron: str, begin: datetime, end: datetime) -> list[datetime]:
    """The times on the wall, from `begin` up to but not `end`, that the expression names. Naive in, naive out."""
    found = []
    for wall in CronSim(ALIASES.get(cron, cron), begin - _SECOND):
        if wall >= end:
            break
        found.append(wall)
    return found


def change(zone: tzinfo, after: datetime, until: datetime) -> datetime | None:
    """The first instant in (after, until] at which the zone's clocks are changed; None where there is none."""
    offset = _offset(zone, after)
    low = after
    while low < until:
        high = min(low + _DAY, until)  # nobody changes the clocks twice a day
        if _offset(zone, high) != offset:
            while high - low > _SECOND:
                middle = low + (high - low) / 2
                low, high = (middle, high) if _offset(zone, middle) == offset else (low, middle)
            return high.replace(microsecond=0)
        low = high
    return None


def _fixed(expression: str, zone: tzinfo, after: datetime) -> Iterator[datetime]:
    last = after
    # Times on the wall may go backwards, and two of them may be moved to one instant: only what is later counts.
    for local in CronSim(expression, after.astimezone(zone)):
        found = local.astimezone(UTC)
        if found > last:
            yield found
            last = found


def _passing(expression: str, zone: tzinfo, after: datetime) -> Iterator[datetime]:
    """Between two changes of the clocks the wall and the time that passes agree; at each change begin anew."""
    # CronSim, given the zone, loses a tick where the clocks change by half an hour, and names a skipped midnight.
    last, wall = after, _wall(zone, after)
    while True:
        offset = _offset(zone, last)
        for named_wall in CronSim(expression, wall):
            found = (named_wall - offset).replace(tzinfo=UTC)
            if changed := change(zone, last, found):
                break
            yield found
            last = found
        else:
            return
        last, wall = changed, _wall(zone, changed) - _SECOND


def _offset(zone: tzinfo, moment: datetime) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()


def _wall(zone: tzinfo, moment: datetime) -> datetime:
    return moment.astimezone(zone).replace(tzinfo=None)
