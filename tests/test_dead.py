"""Dead letters: found, shown, run again once, deleted; and the ledger follows."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
import redis
from starlette.testclient import TestClient

from runtime import keys
from runtime.buckets import dead, documents
from runtime.config.settings import Batch, Settings, StoreSettings
from runtime.invocations.blobs import StoreBlobs
from runtime.invocations.invocation import Invocation, read
from runtime.invocations.requeue import requeue
from runtime.invocations.submit import Call, submit
from runtime.store.port import MinioStore
from tests.gatewaying import Hand, add, deployment, problem
from tests.triggering import House, until
from tests.workers import queued

DEAD = "/api/v1/tasks/dead"


def record(client: redis.Redis, task_id: str) -> Invocation:
    found = read(client, task_id)
    assert found
    return found


@pytest.fixture
def die(redis_client: redis.Redis, made: Settings) -> Any:
    """A call that ends as dead."""

    def end(kind: str = "ValueError", message: str = "it broke", function: str = "add", state: str = "dead") -> str:
        task_id = submit(redis_client, deployment(made), Call(function, {"a": 3}))
        told = f'{{"type": "{kind}", "message": "{message}", "summary": "x", "traceback": "Traceback …"}}'
        Hand(redis_client, made, lambda *_: (state, {"error": told})).end(task_id)
        return task_id

    return end


def listed(web: TestClient, **filters: str) -> set[str]:
    return {one["task_id"] for one in web.get(DEAD, params=filters).json()["tasks"]}


def test_found_by_function_error_and_time(web: TestClient, die: Any, redis_client: redis.Redis) -> None:
    one, two = die(), die("KeyError", "no such part", "hidden")
    failed = die(state="failed")
    assert listed(web) == {one, two}
    assert listed(web, function="hidden") == {two}
    assert listed(web, error="SUCH PART") == {two}
    assert listed(web, error="valueerror") == {one}
    assert listed(web, state="failed") == {failed}
    redis_client.zadd(keys.ended("dead"), {one: int((time.time() - 7200) * 1000)})
    assert listed(web, since="1h") == {two}
    assert listed(web, until="1h") == {one}
    assert listed(web, since="2020-01-01T00:00:00Z") == {one, two}
    assert problem(web.get(DEAD, params={"since": "yesterday"}), 422)["errors"][0]["field"] == "since"
    assert "did you mean function?" in problem(web.get(DEAD, params={"fuction": "add"}), 422)["errors"][0]["message"]


def test_shown_with_everything_that_is_kept(
    web: TestClient, die: Any, redis_client: redis.Redis, made: Settings
) -> None:
    told = web.get(f"{DEAD}/{die()}").json()
    assert told["arguments"] == {"a": 3}
    assert (told["error"], told["traceback"]) == ("ValueError: it broke", "Traceback …")
    assert (told["attempts"], told["state"]) == (1, "dead")
    assert told["created"] <= told["started"] <= told["ended"]
    problem(web.get(f"{DEAD}/nobody"), 404)
    alive = submit(redis_client, deployment(made), Call("add", {"a": 3}))
    assert "queued" in problem(web.get(f"{DEAD}/{alive}"), 404)["detail"]


def test_redriven_under_its_own_id(web: TestClient, die: Any, redis_client: redis.Redis, made: Settings) -> None:
    task_id = die()
    assert web.post(f"{DEAD}/redrive", json={"ids": [task_id]}).json()["redriven"] == [task_id]
    found = record(redis_client, task_id)
    assert (found.state, found.attempts, found.error, found.ended) == ("queued", 0, None, None)
    assert listed(web) == set()
    assert task_id in queued(redis_client)
    Hand(redis_client, made, add).end(task_id)
    assert web.get(f"/api/v1/tasks/task/{task_id}").json()["result"] == 4
    told = web.post(f"{DEAD}/redrive", json={"ids": [task_id, "nobody"]}).json()
    assert told["redriven"] == []
    assert told["skipped"] == {task_id: "it is succeeded", "nobody": "it is not recorded"}


def test_many_are_redriven_by_filter_in_parts(web: TestClient, die: Any) -> None:
    ids = {die() for _ in range(5)}
    other = die("KeyError")
    first = web.post(f"{DEAD}/redrive", json={"error": "ValueError", "limit": 3}).json()
    assert (first["count"], first["more"]) == (3, True)
    rest = web.post(f"{DEAD}/redrive", json={"error": "ValueError", "until": first["until"]}).json()
    assert (rest["count"], rest["more"]) == (2, False)
    assert {*first["redriven"], *rest["redriven"]} == ids
    assert listed(web) == {other}
    assert "not by both" in problem(web.post(f"{DEAD}/redrive", json={"ids": ["x"], "error": "y"}), 422)["detail"]


def test_redriven_by_several_at_once_it_runs_once(die: Any, redis_client: redis.Redis, made: Settings) -> None:
    ids = [die() for _ in range(20)]
    deployed, blobs, done = deployment(made), StoreBlobs(lambda: MinioStore(made.store)), list[str]()
    start = threading.Barrier(4)

    def redrive() -> None:
        start.wait()
        done.extend(dead.redrive(redis_client, deployed, blobs, ids).ids)

    threads = [threading.Thread(target=redrive) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == sorted(ids)
    assert sum(redis_client.llen(name) for name in keys.queue_lists("default")) == 40


def test_purged_for_good(web: TestClient, die: Any, redis_client: redis.Redis) -> None:
    one, two = die(), die("KeyError")
    assert web.post(f"{DEAD}/purge", json={"error": "KeyError"}).json()["purged"] == [two]
    assert read(redis_client, two) is None
    assert listed(web) == {one}
    assert not redis_client.zscore(keys.ALL, two)
    assert web.post(f"{DEAD}/purge", json={}).json()["purged"] == [one]
    assert redis_client.zcard(keys.ALL) == 0


@pytest.mark.parametrize("settled_between", [False, True])
def test_the_documents_of_a_redriven_call_follow_it(
    redis_client: redis.Redis,
    broker_url: str,
    store_settings: StoreSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settled_between: bool,
) -> None:
    # One object a call: a failed batch of several would go once more, in halves.
    house = House.build(redis_client, broker_url, store_settings, tmp_path, batch=Batch(max_items=1))
    blobs = StoreBlobs(lambda: MinioStore(store_settings))

    def status(key: str) -> str:
        found = documents.document_status(house.client, house.project, house.bucket, key)
        return str(found and found["status"])

    def end(call: Invocation, state: str, error: str = "") -> None:
        fields = {"error": error} if error else {"result": "null"}
        made = house.deployment.settings
        Hand(redis_client, made, lambda *_: (state, fields)).end(call.id)

    house.put("a.txt")
    house.put("b.txt")
    with house.running() as (triggers,):
        until(lambda: len(house.changes()) == 2)
        for call in house.calls():
            end(call, "dead", '{"type": "MemoryError", "message": "too large"}')
        until(lambda: (status("a.txt"), status("b.txt")) == ("failed", "failed"))
        call = next(one for one in house.calls() if any(o["key"] == "a.txt" for o in one.arguments["objects"]))
        if settled_between:  # the triggers look at the worst moment: the ledger says pending, the record still dead

            def late(*arguments: Any, **options: Any) -> bool:
                until(lambda: not redis_client.hexists(house.watch.flight, call.id))
                return requeue(*arguments, **options)

            monkeypatch.setattr("runtime.buckets.dead.requeue", late)
        assert dead.redrive(redis_client, house.deployment, blobs, [call.id]).ids == [call.id]
        assert status("a.txt") == "pending"
        assert redis_client.hexists(house.watch.flight, call.id)
        end(call, "succeeded")
        until(lambda: status("a.txt") == "completed")
        assert len(house.changes()) == 2  # nothing was handed out anew
    assert triggers
