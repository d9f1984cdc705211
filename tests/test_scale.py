"""`tundish scale`: a worker that works takes more or fewer calls at once, and drops none. With real workers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import CliRunner

from runtime import keys
from runtime.broker import presence
from runtime.cli.scale import scale
from runtime.deployment.deployment import Deployment
from runtime.invocations.submit import Call, submit
from tests.workers import SAMPLES, ended, environment, until, worker

FILE = SAMPLES / "life" / "functions.yaml"


def tundish(broker_url: str, *words: str, file: Path = FILE) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "runtime.cli.main", *words]
    environ = environment(broker_url, {"TUNDISH_FILE": str(file), "TUNDISH_HOME": "/nowhere/at/all"})
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)


def at_once(client: redis.Redis) -> int:
    """How many calls run."""
    return int(client.zcard(keys.RUNNING))


def test_more_and_fewer_calls_at_once(
    redis_client: redis.Redis, broker_url: str, deployed: Deployment, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    with worker(FILE, broker_url, "work"):
        ids = [submit(redis_client, deployed, Call("wait", {"path": str(go)})) for _ in range(8)]
        until(lambda: at_once(redis_client) == 2)
        grown = tundish(broker_url, "scale", "work=4", "--json")
        assert grown.returncode == 0, grown.stderr
        told: list[dict[str, Any]] = json.loads(grown.stdout)["workers"]
        assert told == [{"worker": "work@test", "queue": "work", "before": 2, "after": 4}]
        until(lambda: at_once(redis_client) == 4)
        until(lambda: [one.concurrency for one in presence.read(redis_client)] == [4])
        shrunk = tundish(broker_url, "scale", "work=1")  # all of them are busy
        assert shrunk.stdout == "work@test: 4 → 1 calls at once\n", shrunk.stderr
        assert at_once(redis_client) == 4, "what runs goes on"
        go.touch()
        found = [ended(redis_client, task_id) for task_id in ids]
        assert {(one.state, one.attempts) for one in found} == {("succeeded", 1)}, "nothing was broken off"
        until(lambda: [one.concurrency for one in presence.read(redis_client)] == [1])
        more = [submit(redis_client, deployed, Call("sleep", {"seconds": 0.3})) for _ in range(4)]
        most = 0
        while not all(_ended(redis_client, task_id) for task_id in more):
            most = max(most, at_once(redis_client))
        assert most == 1


def _ended(client: redis.Redis, task_id: str) -> bool:
    return client.hget(keys.invocation(task_id), "ended") is not None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("work",), "write QUEUE=N"),
        (("work=0",), "from 1 to"),
        (("wrok=3",), "did you mean work"),
        (("side=3",), "pool threads"),
    ],
    ids=["no_number", "nothing", "unknown", "pool"],
)
def test_what_cannot_be_is_said(broker_url: str, words: tuple[str, ...], said: str) -> None:
    done = CliRunner().invoke(scale, words, obj=environment(broker_url, {"TUNDISH_FILE": str(FILE)}))
    assert done.exit_code == 2
    assert said in done.output


def test_a_queue_without_workers_is_said(redis_client: redis.Redis, broker_url: str) -> None:
    done = CliRunner().invoke(scale, ["work=3"], obj=environment(broker_url, {"TUNDISH_FILE": str(FILE)}))
    assert (done.exit_code, done.output) == (1, "tundish: no worker serves work\n")
