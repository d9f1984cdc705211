"""What became of a call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import redis
from starlette.testclient import TestClient

from runtime import keys
from runtime.config.settings import Settings, StoreSettings
from runtime.invocations.invocation import read
from runtime.store.port import MinioStore
from tests.gatewaying import Hand, add, failing, problem, serving, settings


def ended(web: TestClient, client: redis.Redis, made: Settings, answer: Any) -> str:
    task_id: str = web.post("/async-function/add", json={"a": 2}).json()["task_id"]
    Hand(client, made, answer).end(task_id)
    return task_id


def test_from_queued_to_succeeded(web: TestClient, redis_client: redis.Redis, made: Settings) -> None:
    task_id = web.post("/async-function/add", json={"a": 2}).json()["task_id"]
    told = web.get(f"/api/v1/tasks/task/{task_id}").json()
    assert (told["status"], told["ready"], told["successful"], told["result"]) == ("PENDING", False, False, None)
    answer = web.get(f"/api/v1/tasks/task/{task_id}/result")
    assert problem(answer, 409)["state"] == "queued"
    assert answer.headers["retry-after"] == "1"

    Hand(redis_client, made, add).end(task_id)
    told = web.get(f"/api/v1/tasks/task/{task_id}").json()
    assert {name: told[name] for name in ("task_id", "status", "ready", "successful", "result", "error")} == {
        "task_id": task_id,
        "status": "SUCCESS",
        "ready": True,
        "successful": True,
        "result": 3,
        "error": None,
    }
    assert (told["function"], told["state"], told["attempts"], told["queue"]) == ("add", "succeeded", 1, "default")
    assert told["created"] <= told["started"] <= told["ended"]
    answer = web.get(f"/api/v1/tasks/task/{task_id}/result")
    assert (answer.status_code, answer.content) == (200, b"3")


def test_failed(web: TestClient, redis_client: redis.Redis, made: Settings) -> None:
    task_id = ended(web, redis_client, made, failing("ValueError", "it broke"))
    told = web.get(f"/api/v1/tasks/task/{task_id}").json()
    assert (told["status"], told["ready"], told["successful"]) == ("FAILURE", True, False)
    assert told["error"] == "ValueError: it broke"
    assert "traceback" not in told
    assert web.get(f"/api/v1/tasks/task/{task_id}?traceback=1").json()["traceback"] == "Traceback …"
    assert problem(web.get(f"/api/v1/tasks/task/{task_id}/result"), 500)["call_id"] == task_id


def test_cancelled(web: TestClient, redis_client: redis.Redis) -> None:
    task_id = web.post("/async-function/add", json={"a": 2}).json()["task_id"]
    redis_client.hset(keys.invocation(task_id), "state", "cancelled")
    assert web.get(f"/api/v1/tasks/task/{task_id}").json()["status"] == "REVOKED"
    problem(web.get(f"/api/v1/tasks/task/{task_id}/result"), 409)


def test_unknown(web: TestClient) -> None:
    problem(web.get("/api/v1/tasks/task/nobody"), 404)
    problem(web.get("/api/v1/tasks/task/nobody/result"), 404)


def test_a_result_in_the_store(
    broker_url: str, redis_client: redis.Redis, store_settings: StoreSettings, tmp_path: Path
) -> None:
    made = settings(broker_url, store_settings, tmp_path)
    store = MinioStore(store_settings)
    store.ensure_bucket(store.bucket)
    with serving(made) as web:
        task_id = web.post("/async-function/add", json={"a": 2}).json()["task_id"]
        store.put(store.bucket, f"results/{task_id}", b'{"large": 1}')
        Hand(redis_client, made, lambda *_: ("succeeded", {"result_ref": f"results/{task_id}"})).end(task_id)
        assert web.get(f"/api/v1/tasks/task/{task_id}").json()["result"] == {"large": 1}
        assert web.get(f"/api/v1/tasks/task/{task_id}/result").content == b'{"large": 1}'
        store.delete(store.bucket, f"results/{task_id}")
        problem(web.get(f"/api/v1/tasks/task/{task_id}/result"), 410)


def test_arguments_in_the_store(
    broker_url: str, redis_client: redis.Redis, store_settings: StoreSettings, tmp_path: Path
) -> None:
    made = settings(broker_url, store_settings, tmp_path)
    store = MinioStore(store_settings)
    store.ensure_bucket(store.bucket)
    data = {"a": 1, "items": [{"text": "x" * 1000} for _ in range(200)]}
    with serving(made) as web:
        task_id = web.post("/api/v1/tasks/submit", json={"task_type": "add", "task_data": data}).json()["task_id"]
        record = read(redis_client, task_id)
        assert record
        assert (record.arguments, record.arguments_ref) == ({}, f"arguments/{task_id}")
        assert web.get(f"/api/v1/tasks/task/{task_id}?arguments=1").json()["arguments"] == data
        Hand(redis_client, made, failing("ValueError", "no")).end(task_id)
        again = web.post(f"/api/v1/tasks/task/{task_id}/retry").json()["task_id"]
        store.delete(store.bucket, f"arguments/{task_id}")  # the copy is its own
        assert web.get(f"/api/v1/tasks/task/{again}?arguments=1").json()["arguments"] == data
