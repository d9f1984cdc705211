"""What a queue's keys mean to the worker, seen on real workers of every kind of pool."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis

from runtime.deployment.deployment import Deployment
from runtime.invocations.submit import Call, submit
from runtime.worker.app import create_app
from tests.workers import SAMPLES, ended, environment, until, upkeep, worker

FILE = SAMPLES / "pools" / "functions.yaml"


def places(
    client: redis.Redis, deployed: Deployment, function: str, count: int, **arguments: Any
) -> list[dict[str, Any]]:
    """Where `count` calls ran: process and thread."""
    ids = [submit(client, deployed, Call(function, arguments)) for _ in range(count)]
    return [json.loads(ended(client, task_id).result_json or b"") for task_id in ids]


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo", "gevent"])
def test_every_pool_runs_functions(redis_client: redis.Redis, broker_url: str, deployed: Deployment, pool: str) -> None:
    with worker(FILE, broker_url, pool):
        found = places(redis_client, deployed, f"where_{pool}", 8, seconds=0.2)
        stats = create_app(deployed.settings).control.inspect(timeout=5).stats()[f"{pool}@test"]
    processes, threads = {place["pid"] for place in found}, {place["thread"] for place in found}
    assert (len(processes) > 1) == (pool == "prefork")
    assert (len(threads) > 1) == (pool in ("threads", "gevent")) or pool == "prefork"
    assert stats["prefetch_count"] == (2 if pool == "solo" else 4 if pool != "gevent" else 8)


def test_children_are_recycled(redis_client: redis.Redis, broker_url: str, deployed: Deployment) -> None:
    with worker(FILE, broker_url, "recycled"):
        found = places(redis_client, deployed, "where_recycled", 6)
    counts = [sum(place["pid"] == other["pid"] for other in found) for place in found]
    assert max(counts) <= 2, "max_tasks_per_child: 2"


def test_a_child_that_grew_is_replaced(redis_client: redis.Redis, broker_url: str, deployed: Deployment) -> None:
    with worker(FILE, broker_url, "lean"):
        found = places(redis_client, deployed, "where_lean", 3, megabytes=200)
    assert len({place["pid"] for place in found}) == 3, "max_memory_per_child: 150MiB"


def test_a_queue_grows_and_sleeps(redis_client: redis.Redis, broker_url: str, deployed: Deployment) -> None:
    inspect = create_app(deployed.settings).control.inspect(timeout=5)

    def children() -> int:
        return len(inspect.stats()["elastic@test"]["pool"]["processes"])

    with worker(FILE, broker_url, "elastic"):
        assert children() == 0, "autoscale: [0, 2]"
        found = places(redis_client, deployed, "where_elastic", 6, seconds=0.3)
        assert len({place["pid"] for place in found}) == 2


def test_a_limit_that_ends_one_call_spares_the_others(
    redis_client: redis.Redis, broker_url: str, deployed: Deployment
) -> None:
    with worker(FILE, broker_url, "prefork"), upkeep(redis_client, deployed):
        slow = submit(redis_client, deployed, Call("where_prefork", {"seconds": 60}))
        others = places(redis_client, deployed, "where_prefork", 6, seconds=0.1)
        found = ended(redis_client, slow, 60)
    assert len(others) == 6
    assert found.error is not None
    assert (found.state, found.error["type"]) == ("dead", "TimeLimitExceeded")


def test_a_flag_wins_over_the_file(redis_client: redis.Redis, broker_url: str, deployed: Deployment) -> None:
    with worker(FILE, broker_url, "recycled", "-c", "3"):
        # On a busy machine an answer may come after these seconds: then it is asked again.
        stats: Any = until(create_app(deployed.settings).control.inspect(timeout=5).stats)
    assert stats["recycled@test"]["pool"]["max-concurrency"] == 3


def test_a_queue_that_is_not_there_is_named(broker_url: str, tmp_path: Path) -> None:

    command = [sys.executable, "-P", "-m", "runtime.worker", "-Q", "prefrok", "-f", str(FILE)]
    done = subprocess.run(command, env=environment(broker_url), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "no queue prefrok" in done.stderr
