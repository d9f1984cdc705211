"""What `tundish schedule next` says of the runs to come, above all where the clocks are changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from runtime.config.settings import CronTrigger
from runtime.schedules.preview import next_runs
from runtime.schedules.schedule import Schedule, jitter


def notes(cron: str, now: str, count: int = 4) -> list[tuple[str, str]]:
    schedule = Schedule("job-1", "job", CronTrigger(cron=cron, timezone="Europe/Berlin"))
    runs = next_runs(schedule, datetime.fromisoformat(f"{now}Z"), count)
    return [(run.local.strftime("%m-%d %H:%M %z"), run.note) for run in runs]


def test_what_is_skipped_runs_right_after_the_gap() -> None:
    assert notes("30 2 * * *", "2026-03-27T12:00") == [
        ("03-28 02:30 +0100", ""),
        ("03-29 03:00 +0200", "the clocks skip 02:30; it runs at 03:00 instead"),
        ("03-30 02:30 +0200", ""),
        ("03-31 02:30 +0200", ""),
    ]
    assert notes("0,30 2 * * *", "2026-03-28T12:00", 1) == [
        ("03-29 03:00 +0200", "the clocks skip 02:00 and 02:30; it runs at 03:00 instead")
    ]


def test_what_comes_twice_runs_once_or_twice() -> None:
    assert notes("30 2 * * *", "2026-10-24T12:00", 2) == [
        ("10-25 02:30 +0200", "02:30 comes twice, it runs the first time"),
        ("10-26 02:30 +0100", "the clocks go back before it, from 03:00 to 02:00"),
    ]
    assert notes("*/30 * * * *", "2026-10-25T00:15", 3) == [
        ("10-25 02:30 +0200", "02:30 comes twice, this is the first time"),
        ("10-25 02:00 +0100", "02:00 comes twice, this is the second time"),
        ("10-25 02:30 +0100", "02:30 comes twice, this is the second time"),
    ]


@pytest.mark.parametrize("cron", ["0 3 * * *", "0 9 * * *", "0 * * * *"])
def test_a_change_between_two_runs_is_told(cron: str) -> None:
    told = dict(notes(cron, "2026-03-28T10:00", 24))
    assert list(told.values()).count("the clocks go forward before it, from 02:00 to 03:00") == 1


def test_a_change_long_before_a_run_is_not() -> None:
    assert [note for _, note in notes("@yearly", "2026-02-01T00:00", 2)] == ["", ""]
    assert [note for _, note in notes("0 0 1 * *", "2026-03-15T00:00", 2)] == ["", ""]


def test_a_run_that_is_put_off_is_shown_when_it_comes() -> None:
    schedule = Schedule("job-1", "job", CronTrigger(cron="0 * * * *", jitter=600.0))
    hour = datetime(2026, 11, 21, 12, tzinfo=UTC)
    shift = timedelta(seconds=jitter("job-1", hour, 600.0))
    assert shift > timedelta()
    # Between the tick and its moment it is still to come, after it it is not.
    (run,) = next_runs(schedule, hour + shift / 2, 1)
    assert (run.tick, run.at, run.local) == (hour, hour + shift, hour + shift)
    assert next_runs(schedule, hour + shift, 1)[0].tick == hour + timedelta(hours=1)


def test_intervals_know_no_daylight_saving() -> None:
    schedule = Schedule("job-1", "job", CronTrigger(every=1800.0, timezone="Europe/Berlin"))
    runs = next_runs(schedule, datetime(2026, 10, 25, 0, 15, tzinfo=UTC), 3)
    assert [run.tick.minute for run in runs] == [30, 0, 30]
    assert not any(run.note for run in runs)
