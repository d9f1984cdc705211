"""How long what runs may go on in a worker that is to stop, and what becomes of it then: seen on real workers."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from runtime import keys
from runtime.broker import scripts
from runtime.config.load import load_settings
from runtime.deployment.deployment import Deployment
from runtime.invocations.submit import Call, submit
from runtime.system.grace import RETIRE, callers_wait, of_queue, until_killed
from tests.workers import SAMPLES, ended, known, until, upkeep, worker

FILE = SAMPLES / "life" / "functions.yaml"
QUICK = {"TUNDISH_GRACE": "500ms"}

Begin = Callable[..., str]


@pytest.fixture
def begin(redis_client: redis.Redis, deployed: Deployment, tmp_path: Path) -> Begin:
    """Submits a call that writes where it was; returns when it has begun."""

    def submitted(function: str, **arguments: object) -> str:
        path = tmp_path / f"{function}.txt"
        task_id = submit(redis_client, deployed, Call(function, {"path": str(path), **arguments}))
        until(path.exists)
        return task_id

    return submitted


def left(process: subprocess.Popen[bytes]) -> int:
    """The exit code of a worker that was told to stop."""
    return process.wait(60)


def test_what_ends_in_time_ends_there(redis_client: redis.Redis, broker_url: str, begin: Begin, tmp_path: Path) -> None:
    with worker(FILE, broker_url, "work", environ={"TUNDISH_GRACE": "1m"}) as process:
        task_id = begin("sleep", seconds=1.0)
        process.send_signal(signal.SIGTERM)
        assert left(process) == 0
    found = known(redis_client, task_id)
    assert (found.state, found.attempts, found.lost) == ("succeeded", 1, 0)
    assert (tmp_path / "sleep.txt").read_text().split() == ["began", "ended"]


def test_what_does_not_is_handed_back_and_runs_elsewhere(
    redis_client: redis.Redis, broker_url: str, deployed: Deployment, begin: Begin, tmp_path: Path
) -> None:
    """One that hears of it, one that does not listen, and one in a pool that nobody can interrupt."""
    with (
        worker(FILE, broker_url, "work", environ=QUICK) as work,
        worker(FILE, broker_url, "side", environ=QUICK) as side,
    ):
        ids = [begin("sleep", seconds=20), begin("stubborn"), begin("rest", seconds=20)]
        for process in (work, side):
            process.send_signal(signal.SIGTERM)
        until(lambda: all(known(redis_client, task_id).state == "queued" for task_id in ids))
        assert (left(work), left(side)) == (0, 0)
    for task_id in ids:
        found = known(redis_client, task_id)
        assert (found.state, found.attempts, found.lost) == ("queued", 0, 0), "as if it had never begun"
    assert redis_client.llen(keys.queue_list("work", keys.transport_priority(5))) >= 2, "the next worker finds them"
    assert "ended" not in (tmp_path / "sleep.txt").read_text()
    redis_client.delete(keys.invocation(ids[1]))  # it has nothing to say
    with worker(FILE, broker_url, "work"), upkeep(redis_client, deployed):
        until(lambda: known(redis_client, ids[0]).state == "running")
    assert known(redis_client, ids[0]).attempts == 1


def test_a_worker_whose_place_is_taken_has_all_the_time_it_needs(
    redis_client: redis.Redis, broker_url: str, begin: Begin
) -> None:
    with worker(FILE, broker_url, "work", environ={"TUNDISH_GRACE": "100ms"}) as process:
        task_id = begin("sleep", seconds=1.5)
        process.send_signal(RETIRE)
        assert left(process) == 0
    assert ended(redis_client, task_id).attempts == 1


def test_a_handed_back_call_that_was_to_stop_is_cancelled(
    redis_client: redis.Redis, broker_url: str, deployed: Deployment, begin: Begin
) -> None:
    from runtime.worker.handing_back import hand_back

    with worker(FILE, broker_url, "work") as process:
        task_id = begin("stubborn")
        redis_client.hset(keys.invocation(task_id), "stop", "enough")
        name = known(redis_client, task_id).worker or ""
        assert not hand_back(redis_client, deployed, "another@host", task_id), "it is not that one's to give"
        assert hand_back(redis_client, deployed, name, task_id)
        process.kill()
    found = known(redis_client, task_id)
    assert (found.state, found.stop) == ("cancelled", "enough")


def test_a_queue_s_processes_step_back(redis_client: redis.Redis, broker_url: str, deployed: Deployment) -> None:
    with worker(FILE, broker_url, "side"):
        done = ended(redis_client, submit(redis_client, deployed, Call("level")))
    assert done.result_json == b"19"


def test_a_lease_that_was_given_up_is_not_renewed(
    redis_client: redis.Redis, broker_url: str, deployed: Deployment, begin: Begin
) -> None:
    """The worker lists what it runs, a child dies, and only then the renewal comes."""
    with worker(FILE, broker_url, "work") as process:
        task_id = begin("stubborn")
        process.kill()
    name = known(redis_client, task_id).worker or ""
    record = keys.invocation(task_id)
    assert scripts.run(redis_client, "release", (), [task_id, name]) == 1
    for _ in range(2):
        assert scripts.run(redis_client, "renew", (), [name, 60_000, task_id]) == []
        assert redis_client.hmget(record, "lease", "lost") == [b"0", b"1"]
        assert redis_client.zscore(keys.RUNNING, task_id) == 0


@pytest.mark.parametrize(
    ("text", "environ", "project", "queue"),
    [
        ("", {}, 300, 300),
        ("grace: 1m", {}, 60, 60),
        ("grace: 1m\nqueues: {q: {grace: 2h}}", {}, 60, 7200),
        ("grace: 1m\nqueues: {q: {grace: 2h}}", {"TUNDISH_GRACE": "7s"}, 7, 7),
        ("", {"TUNDISH_GRACE": "auto"}, 10, 10),
        ("grace: 1m\nqueues: {q: {grace: 2h}}", {"TUNDISH_GRACE": "auto"}, 60, 7200),
    ],
    ids=["default", "project", "queue", "environment", "up", "up_and_file"],
)
def test_who_says_how_long(tmp_path: Path, text: str, environ: dict[str, str], project: float, queue: float) -> None:
    file = tmp_path / "functions.yaml"
    queues = "" if "queues" in text else "\nqueues: {q: {}}"
    file.write_text(f"version: 1\nfunctions: {{}}\n{text}{queues}\n")
    found = load_settings(environ, file=file).project
    assert (found.grace, of_queue(found, "q"), of_queue(found, "unknown")) == (project, queue, project)


def test_who_manages_processes_waits_longer_than_they_do() -> None:
    assert until_killed(300) > 300 + 6
    assert callers_wait(300) < 300
    assert callers_wait(10) == callers_wait(0) == 3, "never so short that nobody gets an answer"
