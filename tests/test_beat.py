"""The clock on a real broker: each tick once, whoever dies."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis

from runtime import keys
from runtime.attempts.attempt import claim
from runtime.broker import presence
from runtime.broker.connection import connect
from runtime.deployment.deployment import Deployment
from runtime.host.free_ports import Ports
from runtime.invocations import pause
from runtime.invocations.cancel import cancel
from runtime.invocations.invocation import Invocation, read, read_many
from runtime.schedules.schedule import Schedule, parse_tick
from runtime.schedules.state import ScheduleState, decode
from runtime.system import services
from tests.conftest import running
from tests.workers import SAMPLES, deployment, environment, kill, until
from triggers.clock import Clock

FILE = SAMPLES / "clock" / "functions.yaml"
START = datetime(2026, 11, 21, 1, 30, tzinfo=UTC)


class Time:
    """A clock's clock."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def at(self, text: str) -> None:
        self.now = parse_tick(f"2026-11-{text}Z")


def calls(client: redis.Redis) -> list[Invocation]:
    stored: Any = client.keys(keys.invocation("*"))
    names = [name.decode().removeprefix(keys.invocation("")) for name in stored]
    return [record for record in read_many(client, names).values() if record]


def ticks(client: redis.Redis, schedule: Schedule) -> list[datetime]:
    """The instants that were submitted, oldest first."""
    stored: Any = client.keys(keys.tick(schedule.name, "2*"))
    return sorted(parse_tick(name.decode().removeprefix(keys.tick(schedule.name, ""))) for name in stored)


def ms(tick: str) -> int:
    return round(parse_tick(tick).timestamp() * 1000)


def state(client: redis.Redis, schedule: Schedule) -> ScheduleState:
    fields: Any = client.hgetall(keys.schedule(schedule.name))
    return decode(fields)


def end(client: redis.Redis, call: Invocation) -> None:
    client.hset(keys.invocation(call.id), mapping={"state": "succeeded", "ended": 1})


def beside(clock: Clock, time: Time) -> Clock:
    """Another process with the same schedules."""
    other = Clock(clock._client, clock._deployment, time)
    other.schedules = clock.schedules
    return other


@pytest.fixture
def nightly(redis_client: redis.Redis, broker_url: str) -> tuple[Clock, Time]:
    """A clock that has only the nightly schedule and has just begun, at half past one."""
    time = Time()
    clock = Clock(redis_client, deployment(FILE, broker_url), time)
    clock.schedules = [one for one in clock.schedules if one.trigger.cron]
    assert clock.tick(0.5) == 0.5
    return clock, time


def start(broker_url: str, file: Path = FILE) -> subprocess.Popen[bytes]:
    environ = environment(broker_url, {"TUNDISH_FILE": str(file)})
    return subprocess.Popen([sys.executable, "-m", "triggers.beat"], env=environ, start_new_session=True)


def test_a_beat_rereads_its_schedules(redis_client: redis.Redis, broker_url: str, tmp_path: Path) -> None:
    (tmp_path / "functions").mkdir()
    (tmp_path / "functions" / "job.py").write_text((FILE.parent / "functions" / "job.py").read_text())
    file = tmp_path / "functions.yaml"
    file.write_text(FILE.read_text().replace("every: 1s", "every: 1h"))
    beat = start(broker_url, file)
    try:
        until(lambda: any(one.pid == beat.pid and one.ready for one in presence.read(redis_client)))
        file.write_text("nonsense: true")
        beat.send_signal(signal.SIGHUP)
        file.write_text(FILE.read_text())
        beat.send_signal(signal.SIGHUP)
        until(lambda: calls(redis_client))
    finally:
        kill(beat)


def test_a_tick_is_submitted_once_under_its_name(nightly: tuple[Clock, Time], redis_client: redis.Redis) -> None:
    clock, time = nightly
    time.at("21T01:59:59.900")
    assert clock.tick(0.5) == pytest.approx(0.1)
    assert not calls(redis_client)
    time.at("21T02:00:00.100")
    clock.tick(0.5)
    (call,) = calls(redis_client)
    (schedule,) = clock.schedules
    assert redis_client.get(keys.tick(schedule.name, "2026-11-21T02:00:00Z")) == call.id.encode()
    # Another clock that saw nothing of it, and this one again.
    redis_client.hset(keys.schedule(schedule.name), "seen", ms("2026-11-21T01:00:00Z"))
    beside(clock, time).tick(0.5)
    clock.tick(0.5)
    assert len(calls(redis_client)) == 1


def test_overlap_is_forbidden_until_the_last_one_has_ended(
    nightly: tuple[Clock, Time], redis_client: redis.Redis
) -> None:
    clock, time = nightly
    time.at("21T02:00:00")
    clock.tick(0.5)
    (first,) = calls(redis_client)
    time.at("22T02:00:00")
    clock.tick(0.5)
    assert [call.id for call in calls(redis_client)] == [first.id]
    end(redis_client, first)
    time.at("23T02:00:00")
    clock.tick(0.5)
    assert len(calls(redis_client)) == 2
    assert state(redis_client, clock.schedules[0]).skipped == 1


def test_a_clock_that_was_away_makes_up_for_the_latest_tick(
    nightly: tuple[Clock, Time], redis_client: redis.Redis
) -> None:
    clock, time = nightly
    time.at("24T02:30:00")
    for later in (beside(clock, time), beside(clock, time)):
        later.tick(0.5)
        later.tick(0.5)
    (schedule,) = clock.schedules
    assert ticks(redis_client, schedule) == [datetime(2026, 11, 24, 2, tzinfo=UTC)]
    told = state(redis_client, schedule)
    assert (told.submitted, told.missed, told.late) == (1, 3, 1800.0)
    assert told.late_sum == 1800.0 and sum(told.counts) == 1


def test_a_clock_whose_host_was_ahead_holds_nobody_up(nightly: tuple[Clock, Time], redis_client: redis.Redis) -> None:
    clock, time = nightly
    redis_client.hset(keys.schedule(clock.schedules[0].name), "seen", ms("2036-11-21T02:00:00Z"))
    later = beside(clock, time)
    later.tick(0.5)
    time.at("21T02:00:00")
    later.tick(0.5)
    assert len(calls(redis_client)) == 1


def rewritten(clock: Clock, **changes: Any) -> Schedule:
    """The clock's schedule with other options."""
    (schedule,) = clock.schedules
    clock.schedules = [replace(schedule, trigger=schedule.trigger.model_copy(update=changes))]
    return clock.schedules[0]


def test_a_tick_replaces_the_run_before_it(nightly: tuple[Clock, Time], redis_client: redis.Redis) -> None:
    clock, time = nightly
    schedule = rewritten(clock, overlap="replace")
    time.at("21T02:00:00")
    clock.tick(0.5)
    (first,) = calls(redis_client)
    other = beside(clock, time)
    time.at("22T02:00:00")
    other.tick(0.5)
    clock.tick(0.5)
    (second,) = (call for call in calls(redis_client) if call.id != first.id)
    replaced = read(redis_client, first.id)
    assert replaced and replaced.state == "cancelled"
    assert second.state == "queued"
    # One that runs is asked to stop; the new one does not wait for that.
    worker = claim(redis_client, second.id, "worker")
    assert not isinstance(worker, str)
    time.at("23T02:00:00")
    clock.tick(0.5)
    other.tick(0.5)
    assert redis_client.hget(keys.invocation(second.id), "stop") == b"replaced by the tick 2026-11-23T02:00:00Z"
    (third,) = (call for call in calls(redis_client) if call.id not in (first.id, second.id))
    assert third.state == "queued"
    end(redis_client, third)
    time.at("24T02:00:00")
    clock.tick(0.5)
    assert {call.state for call in calls(redis_client)} == {"cancelled", "running", "succeeded", "queued"}
    assert state(redis_client, schedule).submitted == 4


def test_the_clock_that_is_behind_replaces_nothing(nightly: tuple[Clock, Time], redis_client: redis.Redis) -> None:
    clock, time = nightly
    rewritten(clock, overlap="replace")
    other = beside(clock, time)
    other.tick(0.5)
    for day in (21, 22):
        time.at(f"{day}T02:00:00")
        clock.tick(0.5)
    # It has seen neither of the two ticks, and finds both of them done.
    time.at("22T02:00:09")
    other.tick(0.5)
    assert sorted(call.state for call in calls(redis_client)) == ["cancelled", "queued"]


def test_of_two_clocks_that_replace_at_once_one_does(
    nightly: tuple[Clock, Time], redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one submits between this one's look at what there is to replace and its own submission."""
    clock, time = nightly
    rewritten(clock, overlap="replace")
    other = beside(clock, time)
    other.tick(0.5)
    time.at("21T02:00:00")
    clock.tick(0.5)
    time.at("22T02:00:00")
    cancelled: list[str] = []

    def cancel_late(client: redis.Redis, deployed: Deployment, task_id: str, reason: str) -> str:
        cancelled.append(task_id)
        if len(cancelled) == 1:
            other.tick(0.5)
        return cancel(client, deployed, task_id, reason)

    monkeypatch.setattr("triggers.clock.cancel", cancel_late)
    clock.tick(0.5)
    assert sorted(call.state for call in calls(redis_client)) == ["cancelled", "queued"]
    assert len(set(cancelled)) == 1 < len(cancelled)


@pytest.mark.parametrize("alias", [False, True])
@pytest.mark.parametrize(("catch_up", "expected"), [(3600.0, 1), (0.0, 0)])
def test_a_paused_schedule_waits_and_catch_up_decides_about_the_pause(
    nightly: tuple[Clock, Time],
    redis_client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    catch_up: float,
    expected: int,
    alias: bool,
) -> None:
    monkeypatch.setattr("triggers.flags.READ_SECONDS", 0.0)
    clock, time = beside(*nightly), nightly[1]
    schedule = rewritten(clock, catch_up=catch_up, overlap="allow")
    clock.schedules = [replace(schedule, alone=alias)]
    other = beside(clock, time)
    other.tick(0.5)
    name = schedule.function if alias else schedule.name
    pause.pause(redis_client, "schedule", name, "for a test")
    for day in (21, 22):
        time.at(f"{day}T02:00:00")
        for one in (clock, other):
            assert one.tick(0.5) == 0.5
    assert not calls(redis_client) and not ticks(redis_client, schedule)
    assert pause.resume(redis_client, "schedule", name)
    time.at("22T02:00:08")
    for one in (clock, other):
        one.tick(0.5)
    assert len(calls(redis_client)) == expected
    told = state(redis_client, schedule)
    assert (told.submitted, told.skipped, told.missed) == (expected, 2 - expected, 0)
    time.at("23T02:00:00")
    clock.tick(0.5)
    assert len(calls(redis_client)) == expected + 1


def test_a_pause_counts_at_once_although_flags_are_read_once_a_second(
    nightly: tuple[Clock, Time], redis_client: redis.Redis
) -> None:
    clock, time = nightly
    rewritten(clock, overlap="replace")
    time.at("21T02:00:00")
    clock.tick(0.5)
    (first,) = calls(redis_client)
    pause.pause(redis_client, "schedule", clock.schedules[0].name)
    time.at("22T02:00:00")
    clock.tick(0.5)
    assert [(call.id, call.state) for call in calls(redis_client)] == [(first.id, "queued")]
    pause.resume(redis_client, "schedule", clock.schedules[0].name)
    until(lambda: clock.tick(0.5) and len(calls(redis_client)) == 2)


def test_a_broker_that_goes_away_does_not_stop_the_clock(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ports, credentials = Ports(tmp_path), services.load_credentials(tmp_path)
    service, url = services.valkey(tmp_path, ports, credentials)
    client, time = connect(url), Time()
    with running(service):
        clock = Clock(client, deployment(FILE, url), time)
        clock.schedules = [one for one in clock.schedules if one.trigger.cron]
        clock.tick(0.5)
    time.at("21T02:00:01")
    assert clock.tick(0.5) == 0.5 and clock.tick(0.5) == 0.5
    assert clock.down and caplog.text.count("the clock waits for the broker") == 1
    with running(service):
        time.at("21T02:00:05")
        clock.tick(0.5)
        assert not clock.down
        assert len(calls(client)) == 1
    for at in ("22T02:00:01", "23T02:00:01", "23T02:40:00"):
        time.at(at)
        clock.tick(0.5)
    with running(service):
        clock.tick(0.5)
        assert ticks(client, clock.schedules[0]) == [datetime(2026, 11, day, 2, tzinfo=UTC) for day in (21, 23)]
        assert state(client, clock.schedules[0]).missed == 1
