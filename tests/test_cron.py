"""When schedules tick: pure, with given clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest

from runtime.config.settings import CronTrigger, Function, Project, Queue
from runtime.errors import ScheduleNotFound
from runtime.schedules.schedule import (
    Schedule,
    find,
    jitter,
    moments,
    next_due,
    parse_tick,
    schedules,
    tick_name,
    ticks,
)
from triggers.cron import due_ticks


def utc(text: str) -> datetime:
    return parse_tick(text if text.endswith("Z") else f"{text}Z")


def names(trigger: CronTrigger, after: str, count: int) -> list[str]:
    return [tick_name(tick) for tick in islice(ticks(trigger, utc(after)), count)]


def berlin(cron: str) -> CronTrigger:
    return CronTrigger(cron=cron, timezone="Europe/Berlin")


def schedule(**options: object) -> Schedule:
    return Schedule("job-1", "job", CronTrigger.model_validate(options))


def test_a_tick_goes_by_its_scheduled_instant() -> None:
    assert names(CronTrigger(cron="0 2 * * *"), "2026-11-20T12:00:00", 2) == [
        "2026-11-21T02:00:00Z",
        "2026-11-22T02:00:00Z",
    ]
    assert names(CronTrigger(cron="@daily"), "2026-11-20T12:00:00", 1) == ["2026-11-21T00:00:00Z"]
    assert parse_tick("2026-11-21T02:00:00Z") == datetime(2026, 11, 21, 2, tzinfo=UTC)


# In Berlin 02:00 becomes 03:00 on 2026-03-29 (01:00 UTC), and 03:00 becomes 02:00 on 2026-10-25 (01:00 UTC).


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("30 2 * * *", ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]),
        ("0,30 2 * * *", ["2026-03-28T01:00:00Z", "2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z"]),
        ("30 1 * * *", ["2026-03-28T00:30:00Z", "2026-03-29T00:30:00Z", "2026-03-29T23:30:00Z"]),
    ],
)
def test_a_fixed_time_in_the_skipped_hour_runs_once_right_after_it(cron: str, expected: list[str]) -> None:
    assert names(berlin(cron), "2026-03-27T12:00:00", 3) == expected


def test_an_interval_leaves_the_skipped_hour_out() -> None:
    assert names(berlin("*/30 * * * *"), "2026-03-29T00:00:00", 3) == [
        "2026-03-29T00:30:00Z",
        "2026-03-29T01:00:00Z",
        "2026-03-29T01:30:00Z",
    ]


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("30 2 * * *", ["2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]),
        ("30 3 * * *", ["2026-10-24T01:30:00Z", "2026-10-25T02:30:00Z", "2026-10-26T02:30:00Z"]),
    ],
)
def test_a_fixed_time_in_the_repeated_hour_runs_in_its_first_pass(cron: str, expected: list[str]) -> None:
    assert names(berlin(cron), "2026-10-23T12:00:00", 3) == expected


def test_a_clock_that_starts_in_the_second_pass_does_not_repeat_the_first() -> None:
    assert names(berlin("45 2 * * *"), "2026-10-25T01:30:00", 1) == ["2026-10-26T01:45:00Z"]


def test_an_interval_runs_in_both_passes() -> None:
    assert names(berlin("*/30 * * * *"), "2026-10-24T23:45:00", 5) == [
        "2026-10-25T00:00:00Z",
        "2026-10-25T00:30:00Z",
        "2026-10-25T01:00:00Z",
        "2026-10-25T01:30:00Z",
        "2026-10-25T02:00:00Z",
    ]


@pytest.mark.parametrize(
    ("every", "expected"),
    [
        (30.0, ["2026-11-21T12:00:30Z", "2026-11-21T12:01:00Z"]),
        (7.0, ["2026-11-21T12:00:06Z", "2026-11-21T12:00:13Z"]),
        (1.5, ["2026-11-21T12:00:01.500Z", "2026-11-21T12:00:03Z"]),
    ],
)
def test_every_is_at_multiples_since_the_epoch(every: float, expected: list[str]) -> None:
    assert names(CronTrigger(every=every), "2026-11-21T12:00:00", 2) == expected
    assert all(parse_tick(name).timestamp() % every == 0 for name in expected)


@pytest.mark.parametrize(
    ("catch_up", "after", "now", "expected"),
    [
        # Nothing yet, then on time, and late by no more than ten seconds.
        ("0s", "12:00:00", "12:04:59", []),
        ("0s", "12:00:00", "12:05:00", ["12:05:00"]),
        ("0s", "12:00:00", "12:05:10", ["12:05:00"]),
        # The clock was away: without catch_up the tick is gone.
        ("0s", "12:00:00", "12:05:11", []),
        ("0s", "12:00:00", "13:02:00", []),
        # With it the latest one is made up for, and only that one.
        ("1h", "12:00:00", "12:06:00", ["12:05:00"]),
        ("1h", "12:00:00", "13:32:00", ["13:30:00"]),
        ("1m", "12:00:00", "13:32:00", []),
        # One that is on time makes older ones needless.
        ("1h", "12:00:00", "13:30:01", ["13:30:00"]),
    ],
)
def test_what_is_due(catch_up: str, after: str, now: str, expected: list[str]) -> None:
    one = schedule(cron="*/5 * * * *", catch_up=catch_up)
    due = due_ticks(one, utc(f"2026-11-21T{after}"), utc(f"2026-11-21T{now}"))
    assert [tick_name(tick) for tick, _ in due.ticks] == [f"2026-11-21T{name}Z" for name in expected]


def test_a_fast_schedule_gets_every_tick_of_a_short_pause() -> None:
    due = due_ticks(schedule(every="1s"), utc("2026-11-21T12:00:00"), utc("2026-11-21T12:00:04.5"))
    assert len(due.ticks) == 4
    assert due.seen == utc("2026-11-21T12:00:04")


@pytest.mark.parametrize("most", ["2m", "1h"])
def test_no_tick_is_looked_at_twice_or_passed_over(most: str) -> None:
    one = schedule(cron="*/5 * * * *", jitter=most)
    now = seen = utc("2026-11-21T00:00:00")
    found: list[datetime] = []
    while now < utc("2026-11-21T06:10:00"):
        now += timedelta(seconds=0.5)
        due = due_ticks(one, seen, now)
        found, seen = found + [tick for tick, _ in due.ticks], due.seen
    expected = list(islice(ticks(one.trigger, utc("2026-11-21T00:00:00")), 73))
    assert found[:73] == expected


def test_ticks_that_are_gone_are_counted() -> None:
    one = schedule(cron="*/5 * * * *", catch_up="1h")
    assert due_ticks(one, utc("2026-11-21T12:00:00"), utc("2026-11-21T12:05:00")).gone == 0
    assert due_ticks(one, utc("2026-11-21T12:00:00"), utc("2026-11-21T12:31:00")).gone == 5
    assert due_ticks(one, utc("2026-11-21T00:00:00"), utc("2026-11-21T12:31:00")).gone == 12 * 12 + 5
    assert due_ticks(schedule(every="1s"), utc("2026-11-20T00:00:00"), utc("2026-11-21T00:00:00")).gone == 1000


def test_a_long_silence_is_looked_at_once() -> None:
    one, now = schedule(every="1m"), utc("2026-11-21T12:00:30")
    due = due_ticks(one, utc("2026-11-21T11:00:00"), now)
    assert (due.ticks, due.gone) == ([], 60)
    assert due_ticks(one, due.seen, now).gone == 0
    assert [tick_name(tick) for tick, _ in due_ticks(one, due.seen, utc("2026-11-21T12:01:00")).ticks] == [
        "2026-11-21T12:01:00Z"
    ]


@pytest.mark.parametrize(("catch_up", "expected"), [("0s", []), ("1m", ["2026-11-21T12:00:05Z"])])
def test_after_a_pause_only_catch_up_counts(catch_up: str, expected: list[str]) -> None:
    one = schedule(every="1s", catch_up=catch_up)
    due = due_ticks(one, utc("2026-11-21T12:00:00"), utc("2026-11-21T12:00:05.5"), resumed=True)
    assert [tick_name(tick) for tick, _ in due.ticks] == expected
    assert due.gone == 5 - len(expected)
    assert due.seen == utc("2026-11-21T12:00:05")


def test_jitter_never_puts_a_tick_beyond_the_next_one() -> None:
    found = list(islice(moments(schedule(every="10s", jitter="1h"), utc("2026-11-21T00:00:00")), 50))
    assert all(0 <= (moment - tick).total_seconds() < 10 for tick, moment in found)
    assert len({moment - tick for tick, moment in found}) > 40


def test_jitter_is_the_same_every_time_and_spread() -> None:
    instants = list(islice(ticks(CronTrigger(every=60.0), utc("2026-11-21T00:00:00")), 500))
    shifts = [jitter("job-1", tick, 30.0) for tick in instants]
    assert shifts == [jitter("job-1", tick, 30.0) for tick in instants]
    assert all(0 <= shift < 30 for shift in shifts)
    assert min(shifts) < 3 and max(shifts) > 27
    assert shifts[0] != jitter("job-2", instants[0], 30.0)
    one = schedule(cron="0 * * * *", jitter="30s")
    hour = utc("2026-11-21T01:00:00")
    moment = next_due(one, utc("2026-11-21T00:30:00"))
    assert moment == hour + timedelta(seconds=jitter("job-1", hour, 30.0))
    assert not due_ticks(one, utc("2026-11-21T00:30:00"), moment - timedelta(seconds=0.01)).ticks
    assert due_ticks(one, utc("2026-11-21T00:30:00"), moment).ticks == [(hour, moment)]


def test_every_schedule_has_a_name_of_its_own_that_outlives_its_arguments() -> None:
    def named(*crons: CronTrigger) -> list[str]:
        function = Function(name="job", handler="a.py:job", crons=crons)
        return [one.name for one in schedules(Project(queues={"default": Queue()}, functions={"job": function}))]

    plain = CronTrigger(cron="0 2 * * *")
    assert named(plain) == named(CronTrigger(cron="0 2 * * *", arguments={"days": 3}))
    assert len(set(named(plain, plain, CronTrigger(cron="0 2 * * *", timezone="Europe/Berlin")))) == 3


def test_a_schedule_is_found_by_its_name_or_by_that_of_its_function() -> None:
    def function(name: str, *crons: str) -> Function:
        return Function(name=name, handler="a.py:f", crons=tuple(CronTrigger(cron=cron) for cron in crons))

    functions = {one.name: one for one in (function("once", "@daily"), function("twice", "@daily", "@hourly"))}
    project = Project(queues={"default": Queue()}, functions=functions)
    (once,) = find(project, "once")
    assert once.names == (once.name, "once")
    assert find(project, once.name) == [once]
    assert [one.names for one in find(project, "twice")] == [(one.name,) for one in find(project, "twice")]
    with pytest.raises(ScheduleNotFound, match="did you mean once"):
        find(project, "onc")
