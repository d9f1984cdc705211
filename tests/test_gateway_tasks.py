"""What became of a call."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from starlette.testclient import TestClient

from runtime import keys
from runtime.config import Settings, StoreSettings
from tests.gatewaying import Hand, add, failing, problem, serving, settings


@pytest.fixture
def made(broker_url: str, redis_client: redis.Redis, tmp_path: Path) -> Settings:
    return settings(broker_url, StoreSettings(), tmp_path)


@pytest.fixture
def web(made: Settings) -> Iterator[TestClient]:
    with serving(made) as client:
        yield client


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
