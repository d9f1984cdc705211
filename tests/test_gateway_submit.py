"""Submitting by the task API: one call, and many at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
import redis
from starlette.testclient import TestClient

from gateway.calls import accepting
from gateway.tasks import submit as tasks_submit
from runtime import keys
from runtime.config.settings import Settings
from runtime.errors import BrokerDown
from runtime.invocations.invocation import Invocation, read
from runtime.invocations.submit import Call
from runtime.invocations.submit_many import TOGETHER, accept_many_async
from tests.gatewaying import Hand, add, problem

SUBMIT, BATCH = "/api/v1/tasks/submit", "/api/v1/tasks/batch"


def record(client: redis.Redis, task_id: str) -> Invocation:
    found = read(client, task_id)
    assert found
    return found


def test_submit(web: TestClient, redis_client: redis.Redis, made: Settings) -> None:
    answer = web.post(SUBMIT, json={"task_type": "add", "task_data": {"a": 2}, "priority": 8})
    assert answer.status_code == 202
    told = answer.json()
    assert told == {"task_id": told["task_id"], "status": "submitted"}
    assert answer.headers["location"] == f"/api/v1/tasks/task/{told['task_id']}"
    found = record(redis_client, told["task_id"])
    assert (found.function, found.arguments, found.priority, found.state) == ("add", {"a": 2}, 8, "queued")
    short = web.get(f"/api/v1/tasks/status/{told['task_id']}").json()
    assert (short["task_id"], short["status"], short["state"], short["ready"]) == (
        told["task_id"],
        "PENDING",
        "queued",
        False,
    )
    Hand(redis_client, made, add).end(told["task_id"])
    assert web.get(f"/api/v1/tasks/status/{told['task_id']}").json()["status"] == "SUCCESS"


def test_a_delay_and_an_expiry(web: TestClient, redis_client: redis.Redis) -> None:
    body = {"task_type": "add", "task_data": {"a": 2}, "delay": "30s", "expires": 60}
    found = record(redis_client, web.post(SUBMIT, json=body).json()["task_id"])
    assert (found.state, found.waits) == ("accepted", "delay")
    assert found.due == pytest.approx(found.created + 30)
    assert found.expires == pytest.approx(found.created + 90)
    assert web.get(f"/api/v1/tasks/status/{found.id}").json()["waits"] == "delay"


def test_options_that_are_headers_elsewhere(web: TestClient, redis_client: redis.Redis) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    body = {"task_type": "add", "task_data": {"a": 2}, "callback_url": "https://example.com/x", "idempotency_key": "k1"}
    first = web.post(SUBMIT, json=body, headers={"traceparent": trace}).json()["task_id"]
    found = record(redis_client, first)
    assert (found.callback, found.trace) == ("https://example.com/x", trace)
    again = web.post(SUBMIT, json=body)
    assert (again.json()["task_id"], again.headers["idempotency-replayed"]) == (first, "true")
    problem(web.post(SUBMIT, json={**body, "task_data": {"a": 3}}), 422)
    assert redis_client.zcard(keys.ALL) == 1


def test_an_unknown_type_is_400_and_names_the_nearest(web: TestClient, redis_client: redis.Redis) -> None:
    told = problem(web.post(SUBMIT, json={"task_type": "ad", "task_data": {"a": 2}}), 400)
    assert "did you mean add?" in told["detail"]
    assert redis_client.zcard(keys.ALL) == 0


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({"task_type": "add", "task_data": {"a": 2}, "priority": 10}, "priority", "0–9"),
        ({"task_type": "add", "task_data": {"a": 2}, "priority": -1}, "priority", "0–9"),
        ({"task_type": "add", "task_data": {"a": 2}, "priority": "high"}, "priority", "integer"),
        ({"task_type": "add", "task_data": {"a": 2}, "priority": True}, "priority", "integer"),
        ({"task_type": "add", "task_data": {"a": 2}, "prioritty": 3}, "prioritty", "did you mean priority?"),
        ({"task_type": "add", "task_data": [1]}, "task_data", "dictionary"),
        ({"task_data": {"a": 2}}, "task_type", "missing"),
        ({"task_type": "add", "task_data": {"a": "x"}}, "task_data.a", "number"),
        ({"task_type": "add", "task_data": {}}, "task_data.a", "missing"),
        ({"task_type": "add", "task_data": {"a": 1}, "delay": "soon"}, "delay", "not a duration"),
        ({"task_type": "add", "task_data": {"a": 1}, "delay": "1000d"}, "delay", "less than"),
        ({"task_type": "add", "task_data": {"a": 1}, "expires": 0}, "expires", "greater than"),
        (
            {"task_type": "add", "task_data": {"a": 1}, "callback_url": "http://127.0.0.1/x"},
            "callback_url",
            "127.0.0.1",
        ),
        ({"task_type": "add", "task_data": {"a": 1}, "idempotency_key": "a b"}, "idempotency_key", "pattern"),
    ],
)
def test_a_bad_body(web: TestClient, redis_client: redis.Redis, body: Any, field: str, words: str) -> None:
    errors = problem(web.post(SUBMIT, json=body), 422)["errors"]
    assert [error["field"] for error in errors] == [field]
    assert words in errors[0]["message"]
    assert redis_client.zcard(keys.ALL) == 0


def test_what_is_no_object_is_400(web: TestClient) -> None:
    problem(web.post(SUBMIT, content=b"[1]", headers={"Content-Type": "application/json"}), 400)
    problem(web.post(BATCH, content=b"{", headers={"Content-Type": "application/json"}), 400)


def test_who_may_call(web: TestClient) -> None:
    body = {"task_type": "hidden", "task_data": {}}
    assert "no http trigger" in problem(web.post(SUBMIT, json=body), 403)["detail"]
    assert web.post(SUBMIT, json=body, headers={"X-Tundish-Cli": "1"}).status_code == 202
    assert "numpyy" in problem(web.post(SUBMIT, json={"task_type": "broken"}), 503)["detail"]


def test_a_batch_is_one_query(web: TestClient, redis_client: redis.Redis) -> None:
    tasks = [{"task_type": "add", "task_data": {"a": number}, "priority": number % 10} for number in range(25)]
    answer = web.post(BATCH, json={"tasks": tasks})
    assert answer.status_code == 202
    told = answer.json()
    ids = [task["task_id"] for task in told["tasks"]]
    assert len(set(ids)) == 25
    assert [record(redis_client, task_id).arguments["a"] for task_id in ids] == list(range(25))
    listed = web.get(answer.headers["location"]).json()["tasks"]
    assert sorted(task["task_id"] for task in listed) == sorted(ids)
    assert {task["root_id"] for task in listed} == {told["root_id"]}


def test_a_batch_keeps_its_order_over_all_its_steps(web: TestClient, redis_client: redis.Redis) -> None:
    """Each has a turn of its own, by which they come to gates, and its message lies behind that of the one before."""
    count = 2 * TOGETHER + 3
    told = web.post(BATCH, json={"tasks": [{"task_type": "add", "task_data": {"a": 1}}] * count}).json()
    ids = [task["task_id"] for task in told["tasks"]]
    turns = [int(redis_client.hget(keys.invocation(task_id), "turn") or 0) for task_id in ids]
    assert turns == sorted(set(turns))
    lists = [redis_client.lrange(name, 0, -1) for name in redis_client.keys("*") if redis_client.type(name) == b"list"]
    (messages,) = [found for found in lists if len(found) == count]
    assert [json.loads(raw)["headers"]["id"] for raw in reversed(messages)] == ids


def test_a_batch_whose_answer_is_lost_is_accepted_once(
    web: TestClient, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker has its first calls when the connection breaks: they are asked for once more, one by one."""
    whole, lost = accept_many_async, list[int]()

    async def cut(client: Any, deployment: Any, calls: Sequence[Call], wire: Any = None) -> Any:
        if lost:
            return await whole(client, deployment, calls, wire)
        taken, _ = await whole(client, deployment, calls[:5], wire)
        lost.append(len(taken))
        raise BrokerDown("The connection was lost.")

    monkeypatch.setattr(accepting, "accept_many_async", cut)
    count = TOGETHER + 3
    told = web.post(BATCH, json={"tasks": [{"task_type": "add", "task_data": {"a": n}} for n in range(count)]}).json()
    ids = [task["task_id"] for task in told["tasks"]]
    assert (lost, redis_client.zcard(keys.ALL)) == ([5], count)
    assert [record(redis_client, task_id).arguments["a"] for task_id in ids] == list(range(count))


def test_nothing_of_a_batch_is_accepted_behind_what_is_refused(web: TestClient, redis_client: redis.Redis) -> None:
    one = {"task_type": "add", "task_data": {"a": 1}}
    tasks = [one, {**one, "idempotency_key": "k"}, {**one, "idempotency_key": "k", "task_data": {"a": 2}}, one]
    told = problem(web.post(BATCH, json={"tasks": tasks}), 422)
    assert told["detail"].startswith("tasks[2].idempotency_key")
    assert len(told["task_ids"]) == 2
    assert redis_client.zcard(keys.ALL) == 2


def test_a_batch_is_checked_whole_before_anything_is_accepted(web: TestClient, redis_client: redis.Redis) -> None:
    tasks = [
        {"task_type": "add", "task_data": {"a": 1}},
        {"task_type": "addd", "task_data": {"a": 1}},
        {"task_type": "add", "task_data": {"a": "x"}, "priority": 3},
        {"task_type": "add", "task_data": {"a": 1}, "priority": 10},
        "add",
        {"task_type": "hidden"},
    ]
    errors = {
        error["field"]: error["message"] for error in problem(web.post(BATCH, json={"tasks": tasks}), 422)["errors"]
    }
    assert list(errors) == [
        "tasks[1].task_type",
        "tasks[2].task_data.a",
        "tasks[3].priority",
        "tasks[4]",
        "tasks[5].task_type",
    ]
    assert "did you mean add?" in errors["tasks[1].task_type"]
    assert "0–9" in errors["tasks[3].priority"]
    assert redis_client.zcard(keys.ALL) == 0


def test_the_size_of_a_batch_is_bounded(web: TestClient) -> None:
    assert problem(web.post(BATCH, json={"tasks": []}), 422)["errors"][0]["field"] == "tasks"
    many = [{"task_type": "add", "task_data": {"a": 1}}] * (tasks_submit.MOST_TASKS + 1)
    assert str(tasks_submit.MOST_TASKS) in problem(web.post(BATCH, json={"tasks": many}), 422)["errors"][0]["message"]
