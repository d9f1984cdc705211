"""The clock on a real broker: each tick once, whoever dies."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis

from runtime import keys, presence, services
from runtime.broker import connect
from runtime.free_ports import Ports
from runtime.invocations import Invocation, read_many
from tests.conftest import running
from tests.workers import SAMPLES, deployment, environment, kill, until
from triggers.clock import Clock
from triggers.cron import Schedule, parse_tick, schedules

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


def test_two_beats_double_no_tick_and_one_that_dies_stops_none(redis_client: redis.Redis, broker_url: str) -> None:
    often = next(one for one in schedules(deployment(FILE, broker_url).settings.project) if one.trigger.every)
    beats = [start(broker_url), start(broker_url)]
    try:
        until(lambda: {beat.pid for beat in beats} & {one.pid for one in presence.read(redis_client) if one.ready})
        until(lambda: len(ticks(redis_client, often)) >= 4)
        kill(beats[0])
        seen = len(ticks(redis_client, often))
        until(lambda: len(ticks(redis_client, often)) >= seen + 3)
        beats[1].send_signal(signal.SIGTERM)
        assert beats[1].wait(10) == 0
    finally:
        for beat in beats:
            kill(beat)
    instants = ticks(redis_client, often)
    assert {later - earlier for earlier, later in itertools.pairwise(instants)} == {timedelta(seconds=1)}
    records = calls(redis_client)
    assert len(records) == len(instants)
    assert all(record.trigger == "cron" and record.arguments == {"kind": "often"} for record in records)


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
    redis_client.set(keys.tick(schedule.name, "last"), "2026-11-21T01:00:00Z")
    other = Clock(redis_client, clock._deployment, time)
    other.schedules = clock.schedules
    other.tick(0.5)
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
    redis_client.hset(keys.invocation(first.id), "state", "succeeded")
    time.at("23T02:00:00")
    clock.tick(0.5)
    assert len(calls(redis_client)) == 2


def test_a_clock_that_was_away_makes_up_for_the_latest_tick(
    nightly: tuple[Clock, Time], redis_client: redis.Redis
) -> None:
    clock, time = nightly
    time.at("24T02:30:00")
    later = Clock(redis_client, clock._deployment, time)
    later.schedules = clock.schedules
    later.tick(0.5)
    later.tick(0.5)
    assert ticks(redis_client, clock.schedules[0]) == [datetime(2026, 11, 24, 2, tzinfo=UTC)]


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
