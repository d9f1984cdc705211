"""The list of tasks over HTTP, and what the task API answers while the broker is away."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis
from starlette.testclient import TestClient

from runtime.config.settings import Settings, StoreSettings
from tests.gatewaying import Hand, failing, problem, serving, settings

TASKS = "/api/v1/tasks"


def test_page_by_page(web: TestClient) -> None:
    ids = [web.post("/async-function/add", json={"a": number}).json()["task_id"] for number in range(7)]
    found, path = list[str](), f"{TASKS}?function=add&limit=3"
    while path:
        answer = web.get(path)
        found += [task["task_id"] for task in answer.json()["tasks"]]
        following = answer.links.get("next", {}).get("url", "")
        assert bool(following) == bool(answer.json()["cursor"])
        path = following
    assert len(found) == 7
    assert sorted(found) == sorted(ids)
    task = web.get(f"{TASKS}?state=queued&limit=1").json()["tasks"][0]
    assert (task["function"], task["status"], task["ready"], task["root_id"]) == (
        "add",
        "PENDING",
        False,
        task["task_id"],
    )
    assert "result" not in task
    assert "arguments" not in task


def test_filters(web: TestClient, redis_client: redis.Redis, made: Settings) -> None:
    task_id = web.post("/async-function/add", json={"a": 1}).json()["task_id"]
    web.post("/async-function/cut", json={})
    Hand(redis_client, made, failing("ValueError", "so broken")).end(task_id)

    def listed(query: str) -> list[str]:
        return [task["task_id"] for task in web.get(f"{TASKS}?{query}").json()["tasks"]]

    assert listed("state=failed") == listed("error=SO%20BROKEN") == listed(f"root={task_id}") == [task_id]
    assert listed("state=failed&function=cut") == listed("state=failed&until=1h") == listed("function=nobody") == []
    assert len(listed("since=1h")) == 2


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("state=sleeping", "state"),
        ("limit=0", "limit"),
        ("limit=x", "limit"),
        ("since=soon", "since"),
        ("stat=dead", "stat"),
    ],
)
def test_a_bad_query(web: TestClient, query: str, field: str) -> None:
    assert [error["field"] for error in problem(web.get(f"{TASKS}?{query}"), 422)["errors"]] == [field]


def test_a_bad_cursor(web: TestClient) -> None:
    assert "without a cursor" in problem(web.get(f"{TASKS}?cursor=abc"), 400)["detail"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("GET", "/queue/stats"),
        ("GET", "/workers/stats"),
        ("GET", "/active"),
        ("GET", "/health"),
        ("GET", "/summary"),
        ("GET", "/dead"),
        ("GET", "/status/x"),
        ("POST", "/task/x/revoke"),
        ("POST", "/dead/redrive"),
        ("POST", "/queue/default/purge"),
    ],
)
def test_while_the_broker_is_away(tmp_path: Path, method: str, path: str) -> None:
    with serving(settings("redis://127.0.0.1:9/0", StoreSettings(), tmp_path)) as web:
        answer = web.request(method, f"{TASKS}{path}")
        assert "CELERY_BROKER_URL" in problem(answer, 503)["detail"]
        assert answer.headers["retry-after"]
