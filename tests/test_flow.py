"""Delays, expiry, keys, gates and maps, with real workers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from runtime import keys
from runtime.config.settings import StoreSettings
from runtime.deployment.deployment import Deployment
from runtime.invocations import admission
from runtime.invocations.cancel import cancel
from runtime.invocations.invocation import Invocation
from runtime.invocations.pause import pause, paused, resume
from runtime.invocations.requeue import requeue
from runtime.invocations.submit import Call, submit
from tests.workers import SAMPLES, descendants, ended, known, until, upkeep, worker

FILE = SAMPLES / "flow" / "functions.yaml"


@pytest.fixture(scope="module")
def workers(
    broker_url: str, client: redis.Redis, deployed: Deployment, store_settings: StoreSettings
) -> Iterator[None]:
    environ = {
        "MINIO_ENDPOINT": store_settings.endpoint,
        "MINIO_ACCESS_KEY": store_settings.access_key,
        "MINIO_SECRET_KEY": store_settings.secret_key,
        "TUNDISH_BUCKET": "tundish-flow",
    }
    from runtime.store.port import MinioStore

    MinioStore(store_settings).ensure_bucket("tundish-flow")
    with (
        worker(FILE, broker_url, "many", environ=environ),
        worker(FILE, broker_url, "one", environ=environ),
        upkeep(client, deployed),
    ):
        yield


@pytest.fixture
def send(workers: None, client: redis.Redis, deployed: Deployment) -> Any:
    def call(function: str, arguments: dict[str, Any], **options: Any) -> str:
        return submit(client, deployed, Call(function, arguments, **options))

    return call


def lines(path: Path, begin: str) -> list[str]:
    return [line for line in path.read_text().splitlines() if line.startswith(begin)] if path.exists() else []


def most_at_once(path: Path) -> int:
    """How many calls of `mark` were between their begin and their end at the same time."""
    now = most = 0
    moments = sorted((float(line.split()[-1]), line.split()[0]) for line in path.read_text().splitlines())
    for _, kind in moments:
        now += 1 if kind == "begin" else -1
        most = max(most, now)
    return most


# Delay and expiry


def test_a_delayed_call_waits_in_redis_and_not_in_a_worker(send: Any, client: redis.Redis, tmp_path: Path) -> None:
    task = send("mark", {"path": str(tmp_path / "marks")}, delay=1.0)
    found = known(client, task)
    assert (found.state, found.waits, found.celery_status) == ("accepted", "delay", "PENDING")
    assert found.due is not None
    assert found.due == pytest.approx(found.created + 1.0, abs=0.01)
    done = ended(client, task)
    assert done.state == "succeeded"
    assert done.started is not None
    assert done.started >= found.due


# Gates


def test_concurrency_holds_over_all_workers(send: Any, client: redis.Redis, broker_url: str, tmp_path: Path) -> None:
    path = tmp_path / "marks"
    with worker(FILE, broker_url, "many", name="many@other"):
        tasks = [send("narrow", {"path": str(path), "text": str(n), "seconds": 0.2}) for n in range(8)]
        until(lambda: any(known(client, task).waits == "concurrency" for task in tasks))
        found = [ended(client, task) for task in tasks]
        # Both workers take of the queue: six calls that nothing limits need more than the three places of one.
        free = [send("mark", {"path": str(tmp_path / "free"), "text": str(n), "seconds": 0.5}) for n in range(6)]
        assert {ended(client, task).worker for task in free} == {"many@test", "many@other"}
    assert {one.state for one in found} == {"succeeded"}
    assert most_at_once(path) == 2
    assert client.zcard(keys.holders("function:narrow")) == 0
    assert not admission.gates(client)
    assert {known(client, task).attempts for task in tasks} == {1}


def test_what_waits_occupies_no_worker(send: Any, client: redis.Redis, tmp_path: Path) -> None:
    path = tmp_path / "marks"
    tasks = [send("keyed", {"path": str(path), "user": "ann", "seconds": 0.7}) for _ in range(6)]
    until(lambda: client.zcard(keys.parked("key:keyed:ann")) == 5)
    # Three slots, one is busy: another function is served at once.
    other = ended(client, send("add", {"a": 1}))
    assert other.ended is not None
    assert known(client, tasks[-1]).state == "accepted"
    assert {ended(client, task).state for task in tasks} == {"succeeded"}
    assert most_at_once(path) == 1


def test_one_at_a_time_for_each_key_in_order(send: Any, client: redis.Redis, tmp_path: Path) -> None:
    path = tmp_path / "marks"

    def call(user: str, number: int) -> str:
        return str(send("keyed", {"path": str(path), "user": user, "text": f"{user}{number}", "seconds": 0.8}))

    tasks = [call("ann", 0), call("bob", 1)]
    until(lambda: len(lines(path, "begin")) == 2)
    for number, user in enumerate(["ann", "bob", "ann"], 2):  # each is seen to wait before the next one comes
        tasks.append(call(user, number))
        until(lambda: known(client, tasks[-1]).waits == "key")
    assert {ended(client, task).state for task in tasks} == {"succeeded"}
    order = [line.split()[1] for line in lines(path, "begin")]
    assert [name for name in order if name.startswith("ann")] == ["ann0", "ann2", "ann4"]
    assert [name for name in order if name.startswith("bob")] == ["bob1", "bob3"]


def test_latest_wins(send: Any, client: redis.Redis, tmp_path: Path) -> None:
    path = tmp_path / "marks"
    first = send("newest", {"path": str(path), "user": "ann", "text": "0", "seconds": 1.0})
    until(lambda: lines(path, "begin"))
    rest = [send("newest", {"path": str(path), "user": "ann", "text": str(n)}) for n in range(1, 5)]
    states = [ended(client, task).state for task in (first, *rest)]
    assert states == ["succeeded", "cancelled", "cancelled", "cancelled", "succeeded"]
    assert (known(client, rest[0]).error or {})["type"] == "Superseded"
    assert [line.split()[1] for line in lines(path, "begin")] == ["0", "4"]


def test_a_rate_limit_spreads_starts(send: Any, client: redis.Redis, tmp_path: Path) -> None:
    path = tmp_path / "marks"
    tasks = [send("slow_rate", {"path": str(path), "text": str(n)}) for n in range(12)]
    assert {ended(client, task).state for task in tasks} == {"succeeded"}
    begun = sorted(float(line.split()[-1]) for line in lines(path, "begin"))
    # 5/s: five may come together, then one every 200 ms.
    assert begun[-1] - begun[0] > (12 - 5) * 0.2 * 0.8
    for index in range(len(begun) - 6):
        assert begun[index + 6] - begun[index] > 0.1


def test_an_open_circuit_uses_no_attempts(send: Any, client: redis.Redis, tmp_path: Path) -> None:
    path, mended = tmp_path / "tries", tmp_path / "mended"
    tasks = [send("fragile", {"path": str(path), "mended": str(mended)}) for _ in range(4)]
    until(lambda: any(known(client, task).waits == "circuit" for task in tasks))
    until(lambda: client.zcard(keys.parked("function:fragile")) == 4)
    before = sum(known(client, task).attempts for task in tasks)
    assert 3 <= before <= 6
    mended.write_text("")
    assert {ended(client, task).state for task in tasks} == {"succeeded"}
    assert not client.exists(keys.circuit("fragile"))
    # A second of rest, then one probe, then all.
    assert len(lines(path, "try")) == sum(known(client, task).attempts for task in tasks)


def test_a_paused_function_accepts_and_waits(send: Any, client: redis.Redis, tmp_path: Path) -> None:
    pause(client, "function", "mark", "for the test")
    pause(client, "queue", "one")
    assert paused(client)["function", "mark"]["reason"] == "for the test"
    path = tmp_path / "marks"
    tasks = [send("mark", {"path": str(path)}), send("child", {"number": 1, "path": str(path)})]
    until(lambda: all(known(client, task).waits == "paused" for task in tasks))
    assert not path.exists()
    assert resume(client, "function", "mark")
    assert resume(client, "queue", "one")
    assert not resume(client, "queue", "one")
    assert {ended(client, task).state for task in tasks} == {"succeeded"}


# Maps


def finished(client: redis.Redis, task: str) -> tuple[Invocation, Any]:
    done = ended(client, task, 60)
    return done, json.loads(done.result_json or b"null")


def test_a_parent_that_waits_holds_no_slot(send: Any, client: redis.Redis, tmp_path: Path) -> None:
    """Parent and children share a queue with a single slot."""
    path = tmp_path / "runs"
    done, result = finished(client, send("parent", {"count": 5, "path": str(path)}))
    assert (done.state, done.attempts) == ("succeeded", 1)
    assert result == {"results": [0, 10, 20, 30, 40], "attempt": 1}
    assert sorted(lines(path, "child")) == [f"child {n}" for n in range(5)]
    assert lines(path, "parent") == ["parent 1", "parent 1"]
    children = [known(client, task) for task in descendants(client, done.id)]
    assert len(children) == 5
    assert {(one.parent, one.root, one.trigger) for one in children} == {(done.id, done.id, "function")}


def test_children_in_flight_are_bounded(send: Any, client: redis.Redis, tmp_path: Path) -> None:
    path = tmp_path / "runs"
    task = send("parent", {"count": 12, "path": str(path), "in_flight": 2, "seconds": 0.05})
    until(lambda: known(client, task).state == "waiting")
    most = 0
    while not known(client, task).terminal:
        places: Any = client.zcard(keys.holders(f"fan:{task}:0"))
        most = max(most, places)
    assert most == 2
    assert json.loads(known(client, task).result_json or b"")["results"] == [n * 10 for n in range(12)]


def test_a_failed_child_fails_its_parent_once_all_have_ended(send: Any, client: redis.Redis, tmp_path: Path) -> None:
    path = tmp_path / "runs"
    done, _ = finished(client, send("parent", {"count": 3, "path": str(path), "fail": True}))
    assert (done.state, (done.error or {})["type"]) == ("dead", "CallFailed")
    assert "number one" in (done.error or {})["message"]
    assert lines(path, "child").count("child 1") == 3  # its own retries
    done, result = finished(client, send("parent", {"count": 3, "path": str(path), "fail": True, "failures": True}))
    assert result["results"][0::2] == [0, 20]
    assert "number one" in result["results"][1]


def test_submitted_children_are_waited_for_and_none_is_run_twice(
    send: Any, client: redis.Redis, tmp_path: Path
) -> None:
    path = tmp_path / "runs"
    done, result = finished(client, send("wish", {"path": str(path)}))
    assert (done.state, result) == ("succeeded", 0 + 10 + 20 + 90)
    assert sorted(lines(path, "child")) == ["child 0", "child 1", "child 2", "child 9"]


def test_children_inherit(send: Any, client: redis.Redis) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    task = send("heirs", {}, tenant="acme", trace=trace, priority=8, deadline=time.time() + 60)
    done, result = finished(client, task)
    assert result == {"tenant": "acme", "trace": trace, "root": task, "late": False}
    (child,) = descendants(client, task)
    found = known(client, child)
    assert (found.priority, found.deadline) == (8, done.deadline)


def test_children_are_told_otherwise(send: Any, client: redis.Redis) -> None:
    soon = time.time() + 5e9
    options = {"priority": 2, "tenant": "other", "deadline": soon, "delay": 0.2}
    task = send("heirs", {"options": options}, tenant="acme", priority=8, deadline=time.time() + 60)
    _, result = finished(client, task)
    assert result == {"tenant": "other", "trace": "", "root": task, "late": False}  # its own timeout comes first
    (child,) = descendants(client, task)
    found = known(client, child)
    assert found.priority == 2
    assert found.deadline == pytest.approx(soon, abs=1)


def test_a_function_can_follow_a_failure(send: Any, client: redis.Redis, tmp_path: Path) -> None:
    path = tmp_path / "tries"
    task = send("breaks", {"path": str(path)})
    assert ended(client, task).state == "dead"
    assert lines(path, "try") == ["try", "try"]
    (follower,) = until(lambda: descendants(client, task))
    done, result = finished(client, follower)
    assert (done.function, done.parent, done.state) == ("told", task, "succeeded")
    assert result == [[task, "breaks", "ValueError", "it broke"]]


def test_a_redriven_parent_begins_anew(send: Any, client: redis.Redis, deployed: Deployment, tmp_path: Path) -> None:
    path = tmp_path / "runs"
    task = send("parent", {"count": 2, "path": str(path), "fail": True})
    assert ended(client, task).state == "dead"
    assert requeue(client, deployed, task, reset=True)
    assert not requeue(client, deployed, task, reset=True)
    until(lambda: len(lines(path, "child 0")) == 2)
    done = ended(client, task)
    assert (done.state, done.attempts) == ("dead", 1)
    assert client.zscore(keys.ended("dead"), task) is not None


def test_a_cancelled_parent_takes_its_waiting_children_with_it(
    send: Any, client: redis.Redis, deployed: Deployment, tmp_path: Path
) -> None:
    path = tmp_path / "runs"
    task = send("parent", {"count": 20, "path": str(path), "seconds": 0.3, "in_flight": 1})
    until(lambda: known(client, task).state == "waiting" and lines(path, "child"))
    assert cancel(client, deployed, task) == "cancelled"
    children = descendants(client, task)
    states = [ended(client, one).state for one in children]
    assert states.count("cancelled") >= 17
    assert len(lines(path, "child")) <= 3


# References


def test_large_results_and_arguments_travel_by_reference(
    send: Any, client: redis.Redis, store_settings: StoreSettings
) -> None:
    from runtime.invocations.blobs import StoreBlobs, by_reference
    from runtime.store.port import MinioStore

    store = MinioStore(store_settings.model_copy(update={"bucket": "tundish-flow"}))
    blobs = StoreBlobs(lambda: store)
    call = by_reference(Call("large", {"count": 300_000, "text": "y" * 100_000}), blobs)
    assert call.arguments == {}
    task = send("large", {}, id=call.id, arguments_ref=call.arguments_ref)
    done = ended(client, task)
    assert (done.state, done.result_json, done.result_ref) == ("succeeded", None, f"results/{task}")
    result = json.loads(blobs.get(f"results/{task}"))
    assert (result["got"], len(result["text"])) == (100_000, 300_000)
    used: Any = client.memory_usage(keys.invocation(task))
    assert used < 4000
    small = by_reference(Call("large", {"text": "y"}), blobs)
    assert small.arguments_ref is None
