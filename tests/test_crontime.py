"""Cron in time zones: the rule of daylight saving, checked minute by minute around real changes of the clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim

from runtime.values.crontime import change, comings

_MINUTE = timedelta(minutes=1)
# By an hour, by half an hour, by two; at midnight, at the end of the year's first month; north and south.
ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "Asia/Beirut",
    "Australia/Lord_Howe",
    "Antarctica/Troll",
    "America/Havana",
    "Atlantic/Azores",
)
EXPRESSIONS = (
    "30 2 * * *",
    "0 0 * * *",
    "15,45 0-3 * * *",
    "10 2 1-31 * 0",
    "*/15 * * * *",
    "0 * * * *",
    "5 */2 * * *",
    "*/10 0 29 3 *",
    "*/30 2 25 10 *",
)


def changes(zone: str) -> list[datetime]:
    """When the clocks of a zone are changed in 2026."""
    found, moment, end = [], datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
    while changed := change(ZoneInfo(zone), moment, end):
        found.append(changed)
        moment = changed
    return found


def by_hand(cron: str, zone: str, after: datetime, until: datetime) -> list[datetime]:
    """The rule, applied to every minute: what a wall clock shows, whether it shows it again, what it leaves out."""
    sim, minute, hour = CronSim(cron, datetime(2026, 1, 1)), *cron.split()[:2]  # noqa: DTZ001

    def names(wall: datetime) -> bool:
        day = sim.match_day(wall.date()) and wall.month in sim.months
        return bool(day and wall.hour in sim.hours and wall.minute in sim.minutes)

    found, moment = [], after + _MINUTE
    while moment <= until:
        local, before = moment.astimezone(ZoneInfo(zone)), (moment - _MINUTE).astimezone(ZoneInfo(zone))
        wall, left_out = local.replace(tzinfo=None, fold=0), before.replace(tzinfo=None, fold=0) + _MINUTE
        comes = names(wall)
        if not (minute.startswith("*") or hour.startswith("*")):
            comes = comes and not local.fold
            while left_out < wall:
                comes = comes or names(left_out)
                left_out += _MINUTE
        if comes:
            found.append(moment)
        moment += _MINUTE
    return found


def test_the_changes_are_found_to_the_second() -> None:
    assert changes("Europe/Berlin") == [datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC)]
    assert changes("UTC") == []
    assert all(len(changes(zone)) == 2 for zone in ZONES)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("cron", EXPRESSIONS)
def test_the_rule_holds_around_every_change(cron: str, zone: str) -> None:
    for changed in changes(zone):
        end = changed + timedelta(hours=26)
        expected = by_hand(cron, zone, changed - timedelta(hours=26), end)
        for hours in (26, 1.5, 0.5, 0):  # a clock may begin anywhere, also between the two passes of an hour
            begin = changed - timedelta(hours=hours)
            wanted = [moment for moment in expected if moment > begin]
            found = list(islice(comings(cron, zone, begin), len(wanted) + 1))
            assert found[:-1] == wanted and found[-1] > end, (changed, hours)


def test_an_alias_is_its_expression() -> None:
    after = datetime(2026, 11, 20, 12, tzinfo=UTC)
    berlin = ZoneInfo("Europe/Berlin")
    assert next(comings("@daily", "Europe/Berlin", after)) == datetime(2026, 11, 21, tzinfo=berlin)
    assert next(comings("@monthly", "Europe/Berlin", after)) == datetime(2026, 12, 1, tzinfo=berlin)
    assert next(comings("@weekly", "Europe/Berlin", after)) == datetime(2026, 11, 22, tzinfo=berlin)
