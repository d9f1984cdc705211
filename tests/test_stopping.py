"""What ends running work: a cancel, politely or by force, on real workers of every kind of pool."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from runtime import keys
from runtime.attempts.attempt import claim, finish
from runtime.deployment.deployment import Deployment
from runtime.invocations.cancel import cancel
from runtime.invocations.invocation import read
from runtime.invocations.submit import Call, submit
from runtime.worker.stopping import step_after
from tests.workers import SAMPLES, ended, until, upkeep, worker

FILE = SAMPLES / "stopping" / "functions.yaml"


@pytest.fixture(scope="module")
def prefork(broker_url: str, client: redis.Redis, deployed: Deployment) -> Iterator[Any]:
    with worker(FILE, broker_url, "prefork") as process, upkeep(client, deployed):
        yield process


def begun(client: redis.Redis, deployed: Deployment, function: str, path: Path, **arguments: Any) -> str:
    """A call that runs by now."""
    task_id = submit(client, deployed, Call(function, {"path": str(path), **arguments}))
    until(path.exists)
    return task_id


def newcomers(pid: int, before: set[str]) -> set[str]:
    """The processes of its pool that a worker has now and did not have before; its parent is what `pid` names."""
    return {child for shift in _children(str(pid)) for child in _children(shift)} - before


def _children(pid: str) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_a_running_sleep_is_cancelled(prefork: Any, client: redis.Redis, deployed: Deployment, tmp_path: Path) -> None:
    path = tmp_path / "notes"
    task_id = begun(client, deployed, "sleep", path)
    assert cancel(client, deployed, task_id, "not needed") == "stopping"
    found = ended(client, task_id, 10)
    assert (found.state, found.celery_status, found.stop, found.attempts) == ("cancelled", "REVOKED", "not needed", 1)
    assert lines(path) == ["began", "finally"], "the finally block ran, what comes after the sleep did not"
    assert cancel(client, deployed, task_id) == "cancelled"


def test_other_calls_of_the_worker_go_on(
    prefork: Any, client: redis.Redis, deployed: Deployment, tmp_path: Path
) -> None:
    spared = begun(client, deployed, "sleep", tmp_path / "spared", seconds=4.0)
    stopped = begun(client, deployed, "sleep", tmp_path / "stopped")
    cancel(client, deployed, stopped)
    assert ended(client, stopped, 10).state == "cancelled"
    assert ended(client, submit(client, deployed, Call("add", {"a": 1}))).result_json == b"2.0"
    assert ended(client, spared, 20).state == "succeeded"
    assert lines(tmp_path / "spared") == ["began", "side effect", "finally"]


def test_a_function_may_see_it_coming(prefork: Any, client: redis.Redis, deployed: Deployment, tmp_path: Path) -> None:
    path = tmp_path / "notes"
    task_id = begun(client, deployed, "polite", path)
    cancel(client, deployed, task_id)
    found = ended(client, task_id, 10)
    assert (found.state, found.result_json, found.error) == ("cancelled", None, None)
    assert lines(path) == ["began", "stopped"]


def test_a_function_that_returns_when_told_to_end_is_cancelled_too(
    prefork: Any, client: redis.Redis, deployed: Deployment, tmp_path: Path
) -> None:
    path = tmp_path / "notes"
    task_id = begun(client, deployed, "swallow", path)
    cancel(client, deployed, task_id)
    found = ended(client, task_id, 10)
    assert (found.state, found.result_json) == ("cancelled", None)
    assert lines(path) == ["began", "SoftTimeLimitExceeded"]


def test_a_function_that_does_not_listen_is_killed(
    prefork: Any, client: redis.Redis, deployed: Deployment, tmp_path: Path
) -> None:
    path = tmp_path / "notes"
    task_id = begun(client, deployed, "stubborn", path)
    cancel(client, deployed, task_id)
    assert ended(client, task_id, 20).state == "cancelled"
    assert lines(path) == ["began", "SoftTimeLimitExceeded"]
    assert client.zscore(keys.RUNNING, task_id) is None
    done = [ended(client, submit(client, deployed, Call("add", {"a": 1})), 10) for _ in range(4)]
    assert {found.state for found in done} == {"succeeded"}, "the killed child was replaced"


def test_a_stop_that_nobody_heard_of_is_found_by_the_heartbeat(
    prefork: Any, client: redis.Redis, deployed: Deployment, tmp_path: Path
) -> None:
    path = tmp_path / "notes"
    task_id = begun(client, deployed, "sleep", path)
    client.hset(keys.invocation(task_id), "stop", "quietly")  # what cancel writes, without its publish
    assert ended(client, task_id, 15).state == "cancelled"


def test_an_attempt_that_lost_its_place_is_stopped_and_writes_nothing(
    prefork: Any, client: redis.Redis, deployed: Deployment, tmp_path: Path
) -> None:
    path = tmp_path / "notes"
    task_id = begun(client, deployed, "sleep", path)
    client.hset(keys.invocation(task_id), "lease", 0)
    other = claim(client, task_id, "other@test")
    assert not isinstance(other, str)
    until(lambda: "finally" in lines(path))
    found = read(client, task_id)
    assert found is not None
    assert (found.state, found.worker) == ("running", "other@test")
    assert finish(client, deployed.find("sleep").spec, other, "succeeded", {"result": b"1"})


@pytest.mark.parametrize("pool", ["threads", "solo", "gevent"])
def test_where_nothing_can_be_interrupted_a_function_can_be_asked(
    broker_url: str, redis_client: redis.Redis, deployed: Deployment, tmp_path: Path, pool: str
) -> None:
    path = tmp_path / "notes"
    with worker(FILE, broker_url, pool):
        task_id = begun(redis_client, deployed, f"polite_{pool}", path)
        cancel(redis_client, deployed, task_id)
        assert ended(redis_client, task_id, 10).state == "cancelled"
        assert lines(path) == ["began", "stopped"]


def test_a_dead_child_is_replaced_at_once(
    prefork: Any, client: redis.Redis, deployed: Deployment, tmp_path: Path
) -> None:
    """Celery alone looks for it only every five seconds; until then a call may wait in the dead child's pipe."""
    for turn in range(3):
        task_id = begun(client, deployed, "sleep", tmp_path / str(turn))
        before = newcomers(prefork.pid, set())
        submit(client, deployed, Call("leave"))
        ids = [submit(client, deployed, Call("add", {"a": 1})) for _ in range(4)]
        for other in ids:
            assert ended(client, other).state == "succeeded"
        until(functools.partial(newcomers, prefork.pid, before))
        cancel(client, deployed, task_id)
        ended(client, task_id)


@pytest.mark.parametrize(
    ("seconds", "step"), [(0.0, "ask"), (0.9, "ask"), (1.0, "raise"), (5.9, "raise"), (6.0, "kill"), (60.0, "kill")]
)
def test_what_is_done_when(seconds: float, step: str) -> None:
    assert step_after(seconds) == step


def test_two_workers_of_one_name_hold_their_own(
    broker_url: str, redis_client: redis.Redis, deployed: Deployment, tmp_path: Path
) -> None:
    """The second takes a name of its own, so that neither hides what the other has received."""
    with worker(FILE, broker_url, "solo", name="same@test"), worker(FILE, broker_url, "solo", name="same@test"):
        paths = [tmp_path / "one", tmp_path / "two"]
        ids = [begun(redis_client, deployed, "polite_solo", path) for path in paths]
        found = [read(redis_client, task_id) for task_id in ids]
        names = {each.worker for each in found if each}
        assert len(names) == 2
        assert "same@test" in names
        for task_id in ids:
            cancel(redis_client, deployed, task_id)
            ended(redis_client, task_id, 10)


def test_a_worker_that_was_killed_leaves_its_name_to_the_next(
    broker_url: str, redis_client: redis.Redis, deployed: Deployment
) -> None:
    for _ in range(2):
        with worker(FILE, broker_url, "solo", name="same@test"):
            done = ended(redis_client, submit(redis_client, deployed, Call("add_solo", {"a": 1})))
            assert done.worker == "same@test"
    assert json.loads(done.result_json or b"") == 2.0
