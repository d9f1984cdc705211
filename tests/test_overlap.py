"""`overlap` with a real beat and a real worker: what a tick does to the run before it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from runtime import keys
from runtime.invocations.invocation import Invocation, read_many
from runtime.schedules.schedule import schedules
from runtime.schedules.state import ScheduleState, decode
from tests.workers import deployment, environment, kill, until, worker

YAML = """
version: 1
queues: {{default: {{concurrency: 3}}}}
functions:
  job:
    handler: job.py:job
    queue: default
    timeout: 2m
    triggers: [{{every: 1s, overlap: {overlap}}}]
"""


class Job:
    """A function that takes longer than the time between two of its ticks."""

    def __init__(self, client: redis.Redis, broker_url: str, file: Path) -> None:
        self._client, self._url, self._file = client, broker_url, file

    @contextlib.contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        with worker(self._file, self._url, "default"):
            environ = environment(self._url, {"TUNDISH_FILE": str(self._file)})
            beat = subprocess.Popen([sys.executable, "-m", "triggers.beat"], env=environ, start_new_session=True)
            try:
                yield beat
            finally:
                kill(beat)

    def states(self) -> list[str]:
        """Of every run, the oldest first."""
        stored: Any = self._client.keys(keys.invocation("*"))
        names = [name.decode().removeprefix(keys.invocation("")) for name in stored]
        found: list[Invocation] = [record for record in read_many(self._client, names).values() if record]
        return [record.state for record in sorted(found, key=lambda record: record.created)]

    def ticks(self) -> ScheduleState:
        (schedule,) = schedules(deployment(self._file, self._url).settings.project)
        fields: Any = self._client.hgetall(keys.schedule(schedule.name))
        return decode(fields)


@pytest.fixture
def build(redis_client: redis.Redis, broker_url: str, tmp_path: Path) -> Any:
    def made(overlap: str) -> Job:
        (tmp_path / "job.py").write_text("import time\n\ndef job() -> None:\n    time.sleep(100)\n")
        (tmp_path / "functions.yaml").write_text(YAML.format(overlap=overlap))
        return Job(redis_client, broker_url, tmp_path / "functions.yaml")

    return made


def test_forbid_leaves_ticks_out_while_a_run_lasts(build: Any) -> None:
    job = build("forbid")
    with job.running():
        until(lambda: job.ticks().skipped >= 2)
    assert job.states() == ["running"]
    assert job.ticks().submitted == 1


def test_replace_stops_the_run_before(build: Any) -> None:
    job = build("replace")
    with job.running() as beat:
        until(lambda: job.states().count("cancelled") >= 3)
        kill(beat)  # a run takes as long to stop as the next tick to come: while ticks come, there may always be two
        until(lambda: job.states().count("running") == 1)
        assert set(job.states()) == {"cancelled", "running"}
    assert job.ticks().skipped == 0


def test_allow_runs_beside_it(build: Any) -> None:
    job = build("allow")
    with job.running():
        until(lambda: job.states().count("running") == 3)
    assert "cancelled" not in job.states()
