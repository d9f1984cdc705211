"""Two real beat processes at once: no tick is doubled, and none is missing when one of them is killed."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import redis

from runtime import keys
from runtime.broker import presence
from runtime.broker.connection import connect
from runtime.host.free_ports import Ports
from runtime.schedules.schedule import Schedule, parse_tick, schedules
from runtime.schedules.state import ScheduleState, decode
from runtime.system import services
from tests.conftest import running
from tests.workers import SAMPLES, deployment, kill, told, until

FILE = SAMPLES / "clock" / "functions.yaml"
MANY = 12


class Beats:
    """Beat processes, and what they did: `submitted` counts every tick that got into the queue, by its instant."""

    def __init__(self, client: redis.Redis, broker_url: str, folder: Path, file: Path = FILE) -> None:
        self._client, self._environ = client, {**told(folder, file, broker_url), "TUNDISH_FILE": str(file)}
        found = schedules(deployment(file, broker_url).settings.project)
        self.schedule: Schedule = next(one for one in found if one.trigger.every)
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self) -> subprocess.Popen[bytes]:
        """One more, once it ticks."""
        command = [sys.executable, "-m", "triggers.beat"]
        process = subprocess.Popen(command, env=self._environ, start_new_session=True)
        self.running.append(process)
        # Beats of one host share a name, so that the key of the process shows whichever wrote it last.
        until(lambda: any(one.pid == process.pid and one.ready for one in presence.read(self._client)))
        return process

    def submitted(self) -> list[datetime]:
        stored: Any = self._client.keys(keys.tick(self.schedule.name, "2*"))
        names = [name.decode().removeprefix(keys.tick(self.schedule.name, "")) for name in stored]
        return sorted(parse_tick(name) for name in names)

    def messages(self) -> int:
        """What is in the queue: a message for each tick, and no more."""
        lengths: list[Any] = [self._client.llen(name) for name in keys.queue_lists("default")]
        return sum(lengths)

    def wait(self, more: int) -> None:
        """Until so many more ticks have been submitted."""
        goal = len(self.submitted()) + more
        until(lambda: len(self.submitted()) >= goal, 30.0 + 2 * more)

    def state(self) -> ScheduleState:
        fields: Any = self._client.hgetall(keys.schedule(self.schedule.name))
        return decode(fields)

    def stop(self) -> None:
        for process in self.running:
            kill(process)


@contextlib.contextmanager
def beats(client: redis.Redis, broker_url: str) -> Iterator[Beats]:
    with tempfile.TemporaryDirectory() as folder:
        found = Beats(client, broker_url, Path(folder))
        try:
            yield found
        finally:
            found.stop()


def check_complete(found: Beats) -> None:
    """Every second between the first and the last tick has exactly one."""
    instants = found.submitted()
    first, last = int(instants[0].timestamp()), int(instants[-1].timestamp())
    assert [int(one.timestamp()) for one in instants] == list(range(first, last + 1))
    assert found.messages() == found.state().submitted == len(instants)
    assert (found.state().missed, found.state().skipped) == (0, 0)


def test_two_beats_submit_every_tick_once(redis_client: redis.Redis, broker_url: str) -> None:
    with beats(redis_client, broker_url) as found:
        for _ in range(2):
            found.start()
        found.wait(MANY)
        for process in found.running:
            process.send_signal(signal.SIGTERM)
        assert [process.wait(10) for process in found.running] == [0, 0]
    check_complete(found)


def test_a_beat_that_is_killed_stops_no_tick(redis_client: redis.Redis, broker_url: str) -> None:
    """Each of the two is killed and started again in turn; one of them held the lock of the upkeep."""
    with beats(redis_client, broker_url) as found:
        pair = [found.start(), found.start()]
        holder = until(lambda: redis_client.get(keys.lock("upkeep")))
        for turn in range(4):
            found.wait(3)
            kill(pair[turn % 2])
            found.wait(2)
            pair[turn % 2] = found.start()
        # Both have died by now: whoever held the lock is dead, and another has taken its place.
        until(lambda: redis_client.get(keys.lock("upkeep")) not in (None, holder))
        found.wait(2)
        for process in found.running:
            kill(process)
    check_complete(found)


def test_a_beat_that_slept_repeats_nothing(redis_client: redis.Redis, broker_url: str) -> None:
    """Stopped (by a debugger, a laptop's lid) and woken, it looks at ticks that the other has submitted long ago."""
    with beats(redis_client, broker_url) as found:
        sleeper, _ = found.start(), found.start()
        found.wait(2)
        sleeper.send_signal(signal.SIGSTOP)
        found.wait(5)
        sleeper.send_signal(signal.SIGCONT)
        found.wait(2)
        for process in found.running:
            kill(process)
    check_complete(found)


def test_what_falls_due_while_the_broker_is_away_is_submitted_once_or_counted(tmp_path: Path) -> None:
    ports, credentials = Ports(tmp_path), services.load_credentials(tmp_path)
    service, url = services.valkey(tmp_path, ports, credentials)
    with beats(connect(url), url) as found:
        with running(service):
            for _ in range(2):
                found.start()
            found.wait(2)
        for _ in range(2):
            back = time.monotonic() + 3
            until(lambda: time.monotonic() > back)  # noqa: B023
            with running(service):
                found.wait(4)
                for process in found.running:
                    process.send_signal(signal.SIGSTOP)  # so that nothing moves while it is counted
                instants, state, messages = found.submitted(), found.state(), found.messages()
                for process in found.running:
                    process.send_signal(signal.SIGCONT)
    assert len(set(instants)) == len(instants) == messages == state.submitted
    assert len(instants) + state.missed == round((instants[-1] - instants[0]).total_seconds()) + 1
