"""What starts and stops workers from outside goes by: the numbers of a queue, and when a worker is missing."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import CliRunner, Result
from starlette.testclient import TestClient

from gateway.operations.health import check_parts
from runtime import keys
from runtime.broker import presence
from runtime.cli.main import cli
from runtime.config.load import load
from runtime.config.settings import Project, Queue, StoreSettings
from runtime.deployment.deployment import Deployment
from runtime.errors import ConfigError
from runtime.invocations.submit import Call, submit
from runtime.invocations.workload import WAKE_SECONDS, QueueLoad
from tests.gatewaying import deployment, problem, serving, settings
from tests.system import clean_environ

STATS = "/api/v1/tasks/queue/stats"
IDLE = QueueLoad("mail", {}, 0, 0, 0, None, paused=False)


@pytest.fixture
def house(broker_url: str, redis_client: redis.Redis, tmp_path: Path) -> Deployment:
    return deployment(settings(broker_url, StoreSettings(endpoint="127.0.0.1:9"), tmp_path))


@pytest.fixture
def web(house: Deployment) -> Iterator[TestClient]:
    with serving(house.settings) as client:
        yield client


def run(*words: str, **environ: str) -> Result:
    return CliRunner().invoke(cli, list(words), obj=clean_environ(**environ))


def numbers(web: TestClient) -> dict[str, Any]:
    (found,) = web.get(STATS, params={"queue": "default"}).json()["queues"]
    return {key: found[key] for key in ("waiting", "due", "running", "busy")}


@pytest.mark.parametrize(
    ("load", "waiting", "wait", "busy"),
    [
        (IDLE, 0, 0.0, 0),
        (replace(IDLE, queued={9: 3, 0: 2}, messages=4, oldest=7.5), 5, 7.5, 5),
        (replace(IDLE, messages=30), 30, 0.0, 30),  # of another program: no records, and no age
        (replace(IDLE, running=2, due=1), 0, 0.0, 3),
        (replace(IDLE, queued={5: 8}, oldest=60.0, running=1, paused=True), 0, 0.0, 1),  # nobody may take them
    ],
    ids=["idle", "priorities", "messages", "running", "paused"],
)
def test_what_a_worker_would_find(load: QueueLoad, waiting: int, wait: float, busy: int) -> None:
    assert (load.waiting, load.wait, load.busy) == (waiting, wait, busy)


def test_none_is_missed_where_none_has_to_be() -> None:
    assert IDLE.missed
    resting = replace(IDLE, scale_to_zero=True, queued={5: 1}, oldest=WAKE_SECONDS - 1)
    assert not resting.missed
    assert replace(resting, oldest=WAKE_SECONDS + 1).missed
    assert not replace(resting, oldest=WAKE_SECONDS + 1, workers=["mail@host"]).missed


def test_every_priority_and_what_is_due_counts(web: TestClient, house: Deployment, redis_client: redis.Redis) -> None:
    assert numbers(web) == {"waiting": 0, "due": 0, "running": 0, "busy": 0}
    for priority in (0, 3, 9):
        submit(redis_client, house, Call("add", {"a": 1}, priority=priority))
    submit(redis_client, house, Call("add", {"a": 1}, delay=30))
    submit(redis_client, house, Call("add", {"a": 1}, delay=7200))
    assert numbers(web) == {"waiting": 3, "due": 1, "running": 0, "busy": 4}
    (found,) = web.get(STATS, params={"queue": "default"}).json()["queues"]
    assert isinstance(found["wait_seconds"], float)
    assert [one["queue"] for one in web.get(STATS).json()["queues"]] == ["default", "other"]
    assert "did you mean default?" in problem(web.get(STATS, params={"queue": "defualt"}), 404)["detail"]
    assert web.get(STATS, params={"que": "default"}).status_code == 422


def test_readiness_with_queues_at_rest() -> None:
    queues = {"mail": Queue(scale_to_zero=True), "work": Queue()}
    found = check_parts(Project(queues=queues, functions={}), [])
    assert found["worker mail"] == {"ready": True, "detail": "scaled to zero", "processes": 0}
    assert not found["worker work"]["ready"]


def test_the_environment_may_say_so_for_every_queue(tmp_path: Path) -> None:
    file = tmp_path / "functions.yaml"
    file.write_text("version: 1\nqueues: {a: {}, b: {scale_to_zero: true}}\nfunctions: {}\n")

    def said(word: str) -> dict[str, bool]:
        queues = load({"TUNDISH_SCALE_TO_ZERO": word}, file=file).settings.project.queues
        return {name: queue.scale_to_zero for name, queue in queues.items()}

    assert said("") == {"a": False, "b": True}
    assert said("true") == {"a": True, "b": True}
    assert said("false") == {"a": False, "b": False}
    with pytest.raises(ConfigError, match="TUNDISH_SCALE_TO_ZERO: 'maybe' is not one of"):
        said("maybe")


def test_a_gateway_is_ready_without_what_all_gateways_share(tmp_path: Path) -> None:
    store = StoreSettings(endpoint="127.0.0.1:9", access_key="a", secret_key="b")
    with serving(settings("redis://127.0.0.1:9/0", store, tmp_path)) as web:
        until_ready(web)
        assert web.get("/readyz").status_code == 503
        assert web.get("/readyz?part=worker").status_code == 422


def until_ready(web: TestClient) -> None:
    give_up = time.monotonic() + 60
    while (answer := web.get("/readyz?part=gateway")).status_code != 200:
        assert answer.json()["checks"]["index default"]["detail"] == "is being loaded"
        assert time.monotonic() < give_up
        time.sleep(0.05)


def test_healthy(broker_url: str, redis_client: redis.Redis) -> None:
    environ = {"CELERY_BROKER_URL": broker_url}
    host = socket.gethostname()
    found = run("healthy", **environ)
    assert (found.exit_code, found.stdout) == (1, "")
    assert host in found.stderr

    def say(name: str, host: str, *, ready: bool) -> None:
        with redis_client.pipeline() as pipe:
            presence.write(pipe, presence.Process("worker", name, os.getpid(), host, 0.0, ready))
            pipe.execute()

    say(f"mail@{host}", host, ready=True)
    say("mail@elsewhere", "elsewhere", ready=False)
    assert run("healthy", **environ).exit_code == 0
    say(f"slow@{host}", host, ready=False)
    found = run("healthy", **environ)
    assert found.exit_code == 1
    assert f"worker slow@{host}: starting" in found.stdout
    assert "elsewhere" not in found.stdout
    assert run("healthy", "--live", **environ).exit_code == 0
    for name in (f"mail@{host}", f"slow@{host}"):
        redis_client.delete(keys.process("worker", name))
    assert run("healthy", "--live", **environ).exit_code == 1
    say("a-name-of-its-own", host, ready=True)
    assert run("healthy", **environ).exit_code == 0


def test_healthy_without_a_broker(tmp_path: Path) -> None:
    away = {"CELERY_BROKER_URL": "redis://127.0.0.1:9/0"}
    assert run("healthy", **away).exit_code == 1
    assert run("healthy", "--live", **away).exit_code == 0  # a restart would not help
    (tmp_path / "functions.yaml").write_text("version: 1\nfunctions: {}\n")
    found = run("healthy", TUNDISH_FILE=str(tmp_path / "functions.yaml"), TUNDISH_HOME=str(tmp_path))
    assert found.exit_code == 3
    assert "names no broker" in found.stderr
