"""Nothing that scales with invocations stays in Redis: after retention has done its work, every family is as before."""

from __future__ import annotations

from pathlib import Path

import redis

from bench.keyspace import families
from bench.retention import invoke, project, work
from runtime import keys
from runtime.deployment.deployment import Deployment
from runtime.invocations.submit import Call, submit
from runtime.values.histogram import RETRIES, SECONDS
from tests.workers import until, upkeep, worker

MOST_TIMES = 3 * (len(SECONDS) + 2) + len(RETRIES) + 2
"""Fields of keys.METRICS_TIMES for one function of one queue: bounds and the sum of three times, and of its retries."""

SHORT = "{count: 100, succeeded: 1s, failed: 1s, idempotency: 1s}"


def settled(client: redis.Redis, deployed: Deployment) -> dict[str, tuple[int, int]]:
    """The families of keys once everything has ended and every record is forgotten."""

    def forgotten() -> bool:
        while work(client, deployed):
            pass
        return not any(client.scan_iter(keys.invocation("*"))) and not any(client.scan_iter(keys.idem("*")))

    until(forgotten, 60)
    return {name: sizes for name, sizes in found(client, deployed).items() if name.startswith(keys.PREFIX)}


def found(client: redis.Redis, deployed: Deployment) -> dict[str, tuple[int, int]]:
    """The families; how many bounds of times were met until now is chance, but they are bounded."""
    sizes = families(client)
    assert sizes.pop(keys.METRICS_TIMES)[1] <= MOST_TIMES * len(deployed.functions)
    return sizes


def test_no_family_of_keys_keeps_growing(broker_url: str, redis_client: redis.Redis, tmp_path: Path) -> None:
    deployed = project(tmp_path, broker_url, SHORT)
    snapshots = []
    with upkeep(redis_client, deployed):
        for _ in range(2):
            for number in range(1000):
                invoke(redis_client, deployed, number)
                assert redis_client.zcard(keys.ended("succeeded")) <= 101
            snapshots.append(settled(redis_client, deployed))
    totals = redis_client.hgetall(keys.TOTALS)
    assert int(totals[b"one:succeeded"]) + int(totals[b"one:dead"]) == 2000
    assert snapshots[1] == snapshots[0]


def test_a_worker_leaves_nothing_that_grows(broker_url: str, redis_client: redis.Redis, tmp_path: Path) -> None:
    """With what only real workers write: output, heartbeats, what they hold, Celery's own."""
    deployed = project(tmp_path, broker_url, SHORT)
    snapshots = []
    with upkeep(redis_client, deployed), worker(tmp_path / "functions.yaml", broker_url, "q"):
        for _ in range(2):
            for number in range(200):
                submit(redis_client, deployed, Call("say", {"n": number}))
            until(lambda: not redis_client.exists(keys.RUNNING, keys.queued("q", keys.DEFAULT_PRIORITY)), 60)
            until(lambda: not any(redis_client.scan_iter(keys.invocation("*"))), 60)
            until(lambda: not any(redis_client.scan_iter(keys.held("*"))))  # reported with every heartbeat
            sizes = found(redis_client, deployed)
            snapshots.append({name: size for name, size in sizes.items() if name != keys.LOGS})
    assert snapshots[1] == snapshots[0]


def test_a_line_of_output_costs_little(redis_client: redis.Redis) -> None:
    """Every invocation has a stream of its own; the embedded broker is told not to give each a whole page."""
    redis_client.xadd(keys.log("some-id"), {"text": "one line"})
    size = redis_client.memory_usage(keys.log("some-id"), samples=0)
    assert isinstance(size, int)
    assert size < 2000
