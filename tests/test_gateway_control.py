"""Cancelling, repeating, pausing and purging over HTTP."""

from __future__ import annotations

import json

import msgpack
import pytest
import redis
from starlette.testclient import TestClient

from runtime import keys
from runtime.attempts.attempt import claim
from runtime.config.settings import CronTrigger, Settings
from runtime.invocations import pause, queue_purge
from runtime.invocations.invocation import read
from runtime.invocations.submit import Call, submit
from tests.gatewaying import Hand, add, deployment, failing, problem, serving


@pytest.fixture
def sent(web: TestClient) -> str:
    return str(web.post("/async-function/add", json={"a": 2}, headers={}).json()["task_id"])


def revoke(task_id: str) -> str:
    return f"/api/v1/tasks/task/{task_id}/revoke"


def test_what_waits_is_cancelled(web: TestClient, redis_client: redis.Redis, sent: str) -> None:
    answer = web.post(revoke(sent), json={"reason": "not needed"})
    assert (answer.status_code, answer.json()) == (200, {"task_id": sent, "status": "REVOKED", "state": "cancelled"})
    told = web.get(f"/api/v1/tasks/task/{sent}").json()
    assert (told["status"], told["ready"], told["successful"]) == ("REVOKED", True, False)
    assert (told["stopping"], told["reason"]) == (False, "not needed")
    assert claim(redis_client, sent, "hand") == "ended"
    found = read(redis_client, sent)
    assert found and found.stop == "not needed"
    assert web.delete(f"/async-function/{sent}").json()["state"] == "cancelled"  # once more changes nothing


def test_what_runs_is_told_to_stop(web: TestClient, redis_client: redis.Redis, sent: str) -> None:
    claim(redis_client, sent, "hand")
    answer = web.delete(f"/async-function/{sent}")
    assert (answer.status_code, answer.json()) == (200, {"task_id": sent, "status": "STARTED", "state": "stopping"})
    assert web.get(f"/api/v1/tasks/task/{sent}").json()["stopping"] is True


def test_what_has_ended_or_was_never_there(
    web: TestClient, redis_client: redis.Redis, made: Settings, sent: str
) -> None:
    Hand(redis_client, made, add).end(sent)
    assert problem(web.post(revoke(sent)), 409)["state"] == "succeeded"
    assert problem(web.delete(f"/async-function/{sent}"), 409)["call_id"] == sent
    problem(web.post(revoke("nobody")), 404)
    problem(web.delete("/async-function/nobody"), 404)


def test_a_retry_is_a_new_invocation_that_names_its_origin(
    web: TestClient, redis_client: redis.Redis, made: Settings
) -> None:
    parents = [{"id": "p", "function": "cut", "result": "5"}]
    first = submit(
        redis_client, deployment(made), Call("add", {"a": 2}, priority=7, tenant="t", parents=parents, hops=3)
    )
    told = problem(web.post(f"/api/v1/tasks/task/{first}/retry"), 409)
    assert told["state"] == "queued"
    Hand(redis_client, made, failing("ValueError", "it broke")).end(first)

    answer = web.post(f"/api/v1/tasks/task/{first}/retry")
    assert answer.status_code == 202
    second = answer.json()["task_id"]
    assert answer.json() == {"task_id": second, "status": "submitted", "origin_id": first}
    assert second != first
    found = read(redis_client, second)
    assert found
    assert (found.origin, found.arguments, found.priority, found.tenant) == (first, {"a": 2}, 7, "t")
    assert found.root == second
    packed = redis_client.hget(keys.invocation(second), "parents")
    assert msgpack.unpackb(packed) == parents
    assert redis_client.hget(keys.invocation(second), "hops") == b"3", "a loop is not begun anew"
    assert web.get(f"/api/v1/tasks/task/{second}").json()["origin_id"] == first
    assert web.get(f"/api/v1/tasks/task/{first}").json()["state"] == "failed"
    problem(web.post("/api/v1/tasks/task/nobody/retry"), 404)


def test_purging_a_queue_cancels_what_waits_and_takes_its_messages(
    web: TestClient, redis_client: redis.Redis, made: Settings
) -> None:
    deployed = deployment(made)
    waiting = [submit(redis_client, deployed, Call("add", {"a": 1}, priority=number % 10)) for number in range(30)]
    running = submit(redis_client, deployed, Call("add", {"a": 1}))
    claim(redis_client, running, "hand")
    delayed = submit(redis_client, deployed, Call("add", {"a": 1}, delay=60))
    redis_client.lpush(keys.queue_list("default", 0), json.dumps({"headers": {"id": "another-programs"}}))
    answer = web.post("/api/v1/tasks/queue/default/purge")
    # The message of what runs belongs to no waiting call: it was handed out here without being taken.
    assert answer.json() == {"queue": "default", "cancelled": 30, "messages": 31, "more": False}
    states = {read(redis_client, task_id).state for task_id in waiting}  # type: ignore[union-attr]
    assert states == {"cancelled"}
    assert [read(redis_client, task_id).state for task_id in (running, delayed)] == ["running", "accepted"]  # type: ignore[union-attr]
    assert sum(redis_client.llen(name) for name in keys.queue_lists("default")) == 1
    assert "did you mean default?" in problem(web.post("/api/v1/tasks/queue/defolt/purge"), 404)["detail"]


def test_a_large_queue_is_purged_in_parts(web: TestClient, redis_client: redis.Redis, made: Settings) -> None:
    deployed = deployment(made)
    for _ in range(1100):
        submit(redis_client, deployed, Call("add", {"a": 1}))
    first = web.post("/api/v1/tasks/queue/default/purge", json={"limit": 600}).json()
    assert (first["cancelled"], first["messages"], first["more"]) == (600, 600, True)
    rest = web.post("/api/v1/tasks/queue/default/purge", json={"limit": 600}).json()
    assert (rest["cancelled"], rest["messages"], rest["more"]) == (500, 500, False)


def test_what_waits_at_a_gate_is_read_in_parts_too(
    redis_client: redis.Redis, made: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_purge, "CHUNK", 2)
    deployed = deployment(made)
    pause.pause(redis_client, "function", "add")
    for _ in range(5):
        assert claim(redis_client, submit(redis_client, deployed, Call("add", {"a": 1})), "hand") == "waiting"
    assert queue_purge.purge(redis_client, deployed, "other").cancelled == 0, "it is another queue's"
    assert queue_purge.purge(redis_client, deployed, "default").cancelled == 5


def test_pause_and_resume(web: TestClient, redis_client: redis.Redis, sent: str) -> None:
    assert web.get("/admin/pause").json() == {"paused": []}
    answer = web.post("/admin/pause", json={"kind": "function", "name": "add", "reason": "a bug"})
    assert answer.json() == {"kind": "function", "names": ["add"], "paused": True}
    web.post("/admin/pause", json={"kind": "queue", "name": "other"})
    listed = web.get("/admin/pause").json()["paused"]
    assert [(one["kind"], one["name"], one["reason"]) for one in listed] == [
        ("function", "add", "a bug"),
        ("queue", "other", ""),
    ]
    assert claim(redis_client, sent, "hand") == "waiting"  # a worker leaves it alone

    told = web.get(f"/api/v1/tasks/task/{sent}").json()
    assert (told["status"], told["state"], told["waits"]) == ("PENDING", "accepted", "paused")
    functions = {one["name"]: one["paused"] for one in web.get("/functions").json()["functions"]}
    assert functions["add"]["reason"] == "a bug"
    assert functions["cut"] is None
    assert web.get("/functions/add").json()["paused"]["reason"] == "a bug"
    queues = {one["queue"]: one for one in web.get("/api/v1/tasks/queue/stats").json()["queues"]}
    assert (queues["default"]["parked"], queues["default"]["paused"], queues["other"]["paused"]) == (1, False, True)
    lines = web.get("/metrics").text.splitlines()
    assert 'tundish_paused{kind="function",name="add"} 1.0' in lines
    assert 'tundish_invocations{state="accepted"} 1.0' in lines
    assert 'tundish_parked{gate="function:add"} 1.0' in lines
    assert [one["name"] for one in web.get("/api/v1/tasks/health").json()["paused"]] == ["add", "other"]

    assert web.post("/admin/resume", json={"kind": "function", "name": "add"}).json()["changed"] is True
    assert web.post("/admin/resume", json={"kind": "function", "name": "add"}).json()["changed"] is False
    assert web.get("/functions/add").json()["paused"] is None


@pytest.mark.parametrize(
    ("kind", "name", "nearest"),
    [("function", "ad", "add"), ("queue", "defautl", "default"), ("trigger", "embd", "embed"), ("schedule", "tik", "")],
)
def test_what_is_not_there_cannot_rest(web: TestClient, kind: str, name: str, nearest: str) -> None:
    for verb in ("pause", "resume"):
        told = problem(web.post(f"/admin/{verb}", json={"kind": kind, "name": name}), 404)
        assert name in told["detail"]
        assert nearest in told["detail"]
    problem(web.post("/admin/pause", json={"kind": "house", "name": "x"}), 422)


def test_triggers_and_schedules_rest_by_name_or_by_function(made: Settings, redis_client: redis.Redis) -> None:
    spec = made.project.functions["hidden"].model_copy(update={"crons": (CronTrigger(every=60.0),)})
    project = made.project.model_copy(update={"functions": {**made.project.functions, "hidden": spec}})
    with serving(made.model_copy(update={"project": project})) as web:
        (schedule,) = web.post("/admin/pause", json={"kind": "schedule", "name": "hidden"}).json()["names"]
        (trigger,) = web.post("/admin/pause", json={"kind": "trigger", "name": "embed"}).json()["names"]
        assert set(pause.paused(redis_client)) == {("schedule", schedule), ("trigger", trigger)}
        assert web.post("/admin/resume", json={"kind": "schedule", "name": schedule}).json()["changed"] is True
    # What functions.yaml has lost since can go on all the same.
    pause.pause(redis_client, "function", "gone")
    with serving(made) as web:
        assert web.post("/admin/resume", json={"kind": "function", "name": "gone"}).json()["changed"] is True
