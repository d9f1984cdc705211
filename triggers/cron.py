"""Which ticks are to be submitted now. Pure: the clock is handed in, all instants are aware and in UTC."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import datetime, timedelta

from runtime.schedules.schedule import Schedule, moments, ticks

ON_TIME_SECONDS = 10.0
"""A tick that is submitted later than this was missed: `catch_up` says whether it is made up for."""

_COUNTED = 1000


@dataclass(frozen=True, slots=True)
class Due:
    """Ticks to submit now, each with the moment it was due at; the instant up to which none needs a second look; and
    how many ticks are gone (of a long absence about the first thousand are counted)."""

    ticks: list[tuple[datetime, datetime]]
    seen: datetime
    gone: int = 0


def due_ticks(schedule: Schedule, after: datetime, now: datetime, *, resumed: bool = False) -> Due:
    """What is due, `after` being the newest tick that was looked at before.

    That is every tick whose moment is at most 10 s past. Where there is none, the clock was away: then the latest
    missed tick, if its moment is no more than `catch_up` past; the ones before it are gone. `resumed`: up to now
    the schedule was paused, so that nothing is on time.
    """
    trigger = schedule.trigger
    # What is older can no more be due: a week of absence is not submitted. (One second more, as `ticks` begins
    # after its instant.)
    window = timedelta(seconds=max(ON_TIME_SECONDS, trigger.catch_up) + trigger.jitter + 1)
    begin, gone = now - window, 0
    if begin > after:
        begin = begin.replace(microsecond=begin.microsecond // 1000 * 1000)  # as it is stored
        older = itertools.takewhile(lambda tick: tick <= begin, ticks(trigger, after))
        gone = sum(1 for _ in itertools.islice(older, _COUNTED))
        after = begin if gone else after
    found = list(itertools.takewhile(lambda pair: pair[1] <= now, moments(schedule, after)))
    if not found:
        return Due([], after, gone)
    on_time = [] if resumed else [pair for pair in found if now - pair[1] <= timedelta(seconds=ON_TIME_SECONDS)]
    if not on_time and now - found[-1][1] <= timedelta(seconds=trigger.catch_up):
        on_time = found[-1:]
    return Due(on_time, found[-1][0], gone + len(found) - len(on_time))
