"""Queues, workers and totals as real workers make them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from starlette.testclient import TestClient

from gateway.app import create_app
from runtime import keys
from runtime.broker import presence
from runtime.deployment.deployment import Deployment
from runtime.invocations.invocation import read
from runtime.invocations.submit import Call, submit
from tests.gatewaying import ORIGIN, problem
from tests.workers import SAMPLES, deployment, ended, environment, queued, until, upkeep, worker

FILE = SAMPLES / "basic" / "functions.yaml"
TASKS = "/api/v1/tasks"


@pytest.fixture
def deployed(broker_url: str, redis_client: redis.Redis) -> Deployment:
    return deployment(FILE, broker_url)


@pytest.fixture
def web(deployed: Deployment, tmp_path: Path) -> Iterator[TestClient]:
    made = deployed.settings.model_copy(update={"home": tmp_path})
    with TestClient(create_app(made, deployed), ORIGIN, client=("127.0.0.1", 1)) as client:
        yield client


def get(web: TestClient, path: str) -> Any:
    answer = web.get(f"{TASKS}/{path}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_workers_queues_and_what_runs(
    web: TestClient, deployed: Deployment, broker_url: str, redis_client: redis.Redis
) -> None:
    with worker(FILE, broker_url, "light") as light, worker(FILE, broker_url, "single", name="single.2@test") as single:
        naps = [submit(redis_client, deployed, Call("nap", {"seconds": 60.0})) for _ in range(2)]
        until(lambda: len(get(web, "active")["tasks"]) == 2)
        waiting = [submit(redis_client, deployed, Call("nap", {"seconds": 0.0}, priority=p)) for p in (9, 9, 2, 0)]
        until(lambda: {one["held"] for one in get(web, "workers/stats")["workers"] if one["queue"] == "light"} != {0})

        active = get(web, "tasks/active")["tasks"]
        assert {one["task_id"] for one in active} == set(naps)
        for one in active:
            assert (one["worker"], one["function"], one["attempts"], one["status"]) == (
                "light@test",
                "nap",
                1,
                "STARTED",
            )
            assert 0 <= one["seconds"] < 60

        workers = {one["worker"]: one for one in get(web, "workers/stats")["workers"]}
        assert set(workers) == {"light@test", "single.2@test"}
        told = workers["light@test"]
        assert (told["pid"], told["host"]) == (light.pid, socket.gethostname())
        assert (told["queue"], told["pool"], told["concurrency"], told["ready"]) == ("light", "prefork", 2, True)
        assert (told["running"], sorted(told["tasks"])) == (2, sorted(naps))
        assert told["held"] >= 2
        other = workers["single.2@test"]
        assert (other["pid"], other["queue"], other["concurrency"], other["running"]) == (single.pid, "single", 1, 0)

        queues = {one["queue"]: one for one in get(web, "queue/stats")["queues"]}
        light_queue = queues["light"]
        assert (light_queue["queued"], light_queue["by_priority"]) == (4, {"9": 2, "2": 1, "0": 1})
        assert (light_queue["running"], light_queue["workers"]) == (2, ["light@test"])
        assert light_queue["oldest_seconds"] >= 0
        assert (queues["single"]["queued"], queues["single"]["oldest_seconds"]) == (0, None)

        answer = web.get(f"{TASKS}/health")
        assert answer.status_code == 503
        assert [problem.split(":")[0] for problem in answer.json()["problems"]] == ["no beat runs"]
        with redis_client.pipeline() as pipe:
            presence.write(pipe, presence.Process("beat", "b", os.getpid(), "host", 0.0))
            pipe.execute()
        told = get(web, "health")
        assert (told["status"], told["workers"], told["queued"]) == ("healthy", 2, 4)
        assert {read(redis_client, task_id).state for task_id in waiting} == {"queued"}  # type: ignore[union-attr]


def test_a_dead_worker_is_no_longer_told_of(web: TestClient, broker_url: str, redis_client: redis.Redis) -> None:
    with worker(FILE, broker_url, "light"):
        assert [one["worker"] for one in get(web, "workers/stats")["workers"]] == ["light@test"]
    redis_client.delete(keys.process("worker", "light@test"))  # it lapses after ten seconds
    assert get(web, "workers/stats")["workers"] == []
    answer = web.get(f"{TASKS}/health")
    assert answer.status_code == 503
    assert "no worker serves the queue light" in answer.json()["problems"]
    assert answer.headers["retry-after"]


def test_totals_and_how_the_newest_went(
    web: TestClient, deployed: Deployment, broker_url: str, redis_client: redis.Redis
) -> None:
    assert get(web, "summary")["newest"]["success_rate"] is None
    with worker(FILE, broker_url, "light"), upkeep(redis_client, deployed):
        ids = [submit(redis_client, deployed, Call("add", {"a": 1})) for _ in range(3)]
        ids.append(submit(redis_client, deployed, Call("refuse")))
        for task_id in ids:
            ended(redis_client, task_id)
        submit(redis_client, deployed, Call("add", {"a": 1}, delay=60))
        told = get(web, "summary")
    assert told["totals"] == {"add": {"succeeded": 3}, "refuse": {"failed": 1}}
    assert told["kept"] == {"succeeded": 3, "failed": 1, "dead": 0, "cancelled": 0, "expired": 0}
    assert told["waiting"] == {"accepted": 1, "queued": 0, "running": 0, "waiting": 0, "retrying": 0}
    assert (told["newest"]["count"], told["newest"]["success_rate"]) == (4, 0.75)


def test_a_paused_function_waits_and_goes_on(
    web: TestClient, deployed: Deployment, broker_url: str, redis_client: redis.Redis
) -> None:
    web.post("/admin/pause", json={"kind": "function", "name": "add"})
    with worker(FILE, broker_url, "light"), upkeep(redis_client, deployed):
        task_id = submit(redis_client, deployed, Call("add", {"a": 1}))
        until(lambda: web.get(f"{TASKS}/status/{task_id}").json()["waits"] == "paused")
        other = ended(redis_client, submit(redis_client, deployed, Call("echo", {"value": 1})))
        assert other.state == "succeeded"  # the worker is free for others
        assert [one["parked"] for one in get(web, "queue/stats")["queues"] if one["queue"] == "light"] == [1]
        web.post("/admin/resume", json={"kind": "function", "name": "add"})
        assert ended(redis_client, task_id).state == "succeeded"


def test_what_a_raw_celery_purge_removed_is_put_back(
    web: TestClient, deployed: Deployment, broker_url: str, redis_client: redis.Redis, tmp_path: Path
) -> None:
    ids = [submit(redis_client, deployed, Call("echo", {"value": number})) for number in range(20)]
    command = [sys.executable, "-m", "celery", "-A", "runtime.celery_app", "purge", "-f"]
    environ = environment(broker_url, {"TUNDISH_FILE": str(FILE), "TUNDISH_HOME": str(tmp_path / "home")})
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    assert "Purged 20 messages" in done.stdout
    assert queued(redis_client) == set(ids)  # the records know nothing of it
    with upkeep(redis_client, deployed), worker(FILE, broker_url, "light"):
        assert {ended(redis_client, task_id).state for task_id in ids} == {"succeeded"}


def test_what_our_purge_removed_stays_away(
    web: TestClient, deployed: Deployment, broker_url: str, redis_client: redis.Redis
) -> None:
    ids = [submit(redis_client, deployed, Call("echo", {"value": number})) for number in range(20)]
    assert web.post(f"{TASKS}/queue/light/purge").json()["messages"] == 20
    with upkeep(redis_client, deployed), worker(FILE, broker_url, "light"):
        last = ended(redis_client, submit(redis_client, deployed, Call("echo", {"value": 21})))
    assert last.state == "succeeded"
    assert {read(redis_client, task_id).state for task_id in ids} == {"cancelled"}  # type: ignore[union-attr]


def test_a_dead_letter_runs_again_on_a_real_worker(
    web: TestClient, deployed: Deployment, broker_url: str, redis_client: redis.Redis
) -> None:
    with worker(FILE, broker_url, "light"), upkeep(redis_client, deployed):
        task_id = submit(redis_client, deployed, Call("fail", {"message": "for good"}))
        first = ended(redis_client, task_id)
        assert (first.state, first.attempts) == ("dead", 3)
        assert "for good" in get(web, f"dead/{task_id}")["error"]
        web.post(f"{TASKS}/dead/redrive", json={"function": "fail"})
        until(lambda: ended(redis_client, task_id).ended != first.ended)
        again = ended(redis_client, task_id)
        assert (again.state, again.attempts) == ("dead", 3)
        origin = web.post(f"{TASKS}/task/{task_id}/retry").json()["task_id"]
        assert ended(redis_client, origin).state == "dead"
    assert problem(web.get(f"{TASKS}/task/{task_id}/result"), 500)["state"] == "dead"


def test_what_runs_is_stopped(
    web: TestClient, deployed: Deployment, broker_url: str, redis_client: redis.Redis
) -> None:
    with worker(FILE, broker_url, "light"), upkeep(redis_client, deployed):
        task_id = submit(redis_client, deployed, Call("nap", {"seconds": 15.0}))
        until(lambda: [one["task_id"] for one in get(web, "active")["tasks"]] == [task_id])
        assert web.post(f"{TASKS}/task/{task_id}/revoke").json()["state"] == "stopping"
        found = ended(redis_client, task_id)
    assert (found.state, found.celery_status) == ("cancelled", "REVOKED")
    assert found.seconds is not None and found.seconds < 10
