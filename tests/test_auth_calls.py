"""Functions for administrators, and keys for some functions only, on every way that leads to a call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml
from starlette.testclient import TestClient

from runtime import keys
from runtime.attempts.attempt import claim, finish
from runtime.config.settings import Settings
from runtime.deployment.deployment import Deployment
from runtime.invocations.submit import Call, submit
from tests import authing
from tests.gatewaying import problem
from tests.workers import queued

ROOT = Path(__file__).parent.parent
EVENT = {"specversion": "1.0", "id": "1", "source": "/here", "type": "happened"}
Headers = Mapping[str, str]


@pytest.fixture
def made(broker_url: str, redis_client: redis.Redis, tmp_path: Path) -> Settings:
    return authing.settings(broker_url, tmp_path)


@pytest.fixture
def deployed(made: Settings) -> Deployment:
    return authing.deployment(made)


@pytest.fixture
def web(made: Settings) -> Iterator[TestClient]:
    with authing.serving(made) as client:
        yield client


def ways(web: TestClient, function: str) -> dict[str, Callable[[Headers], Any]]:
    """Everything that sends a call of a function by its name."""
    task = {"task_type": function, "task_data": {}}
    return {
        "wait": lambda headers: web.post(f"/function/{function}", headers={**headers, "Prefer": "wait=0"}),
        "get": lambda headers: web.get(f"/function/{function}", headers=headers),
        "async": lambda headers: web.post(f"/async-function/{function}", headers=headers),
        "form": lambda headers: web.post(f"/async-function/{function}", files={"a": b"1"}, headers=headers),
        "event": lambda headers: web.post(
            f"/async-function/{function}",
            json=EVENT,
            headers={**headers, "Content-Type": "application/cloudevents+json"},
        ),
        "binary event": lambda headers: web.post(
            f"/function/{function}", headers={**headers, **{f"ce-{name}": value for name, value in EVENT.items()}}
        ),
        "events": lambda headers: web.post(
            f"/async-function/{function}",
            json=[EVENT],
            headers={**headers, "Content-Type": "application/cloudevents-batch+json"},
        ),
        "submit": lambda headers: web.post("/api/v1/tasks/submit", json=task, headers=headers),
    }


def test_a_function_for_administrators_on_every_way_in(
    web: TestClient, made: Settings, redis_client: redis.Redis
) -> None:
    invoke = authing.key(redis_client, "invoke", "invoke")
    for name, send in ways(web, "tidy").items():
        assert "role: admin" in problem(send(invoke), 403)["detail"], name
    batch = {"tasks": [{"task_type": "add", "task_data": {"a": 1}}, {"task_type": "tidy"}]}
    told = problem(web.post("/api/v1/tasks/batch", json=batch, headers=invoke), 422)
    assert told["errors"][0]["field"] == "tasks[1].task_type"
    assert not queued(redis_client)
    for name in ("async", "submit"):
        assert ways(web, "tidy")[name](authing.admin(made)).status_code == 202


def test_a_key_for_some_functions(web: TestClient, redis_client: redis.Redis) -> None:
    some = authing.key(redis_client, "some", "invoke", functions=("cut",))
    for name, send in ways(web, "add").items():
        assert "may not call add, only cut" in problem(send(some), 403)["detail"], name
    assert web.post("/async-function/cut", headers=some).status_code == 202


def test_who_may_only_look_calls_nothing(web: TestClient, redis_client: redis.Redis) -> None:
    read = authing.key(redis_client, "read", "read")
    for name, send in ways(web, "add").items():
        assert "role read" in problem(send(read), 403)["detail"], name


def test_a_function_without_an_http_trigger(web: TestClient, made: Settings, redis_client: redis.Redis) -> None:
    invoke, meant = authing.key(redis_client, "invoke", "invoke"), {"X-Tundish-Cli": "1"}
    for send in ways(web, "hidden").values():
        assert "no http trigger" in problem(send({**invoke, **meant}), 403)["detail"]
        problem(send(authing.admin(made)), 403)
    assert web.post("/async-function/hidden", headers={**authing.admin(made), **meant}).status_code == 202


def ended(client: redis.Redis, deployed: Deployment, function: str, state: str = "failed") -> str:
    """A call of a function that has ended badly."""
    task_id = submit(client, deployed, Call(function, {}))
    attempt = claim(client, task_id, "hand")
    assert not isinstance(attempt, str)
    spec = deployed.settings.project.functions[function]
    assert finish(client, spec, attempt, state, {"error": '{"type": "E", "message": "m"}'})
    return task_id


def test_calls_of_it_are_not_repeated_redriven_or_ended_by_others(
    web: TestClient, made: Settings, deployed: Deployment, redis_client: redis.Redis
) -> None:
    invoke = authing.key(redis_client, "invoke", "invoke")
    mine, theirs = ended(redis_client, deployed, "cut"), ended(redis_client, deployed, "tidy")
    problem(web.post(f"/api/v1/tasks/task/{theirs}/retry", headers=invoke), 403)
    assert web.post(f"/api/v1/tasks/task/{mine}/retry", headers=invoke).status_code == 202
    given = {"state": "failed"}
    told = web.post("/api/v1/tasks/dead/redrive", json=given, headers=invoke).json()
    assert (told["redriven"], list(told["skipped"])) == ([mine], [theirs])
    assert "role: admin" in told["skipped"][theirs]
    told = web.post("/api/v1/tasks/dead/redrive", json={"ids": [theirs]}, headers=authing.admin(made)).json()
    assert told["redriven"] == [theirs]
    waiting = web.post("/async-function/tidy", headers=authing.admin(made)).json()["task_id"]
    problem(web.post(f"/api/v1/tasks/task/{waiting}/revoke", headers=invoke), 403)
    problem(web.delete(f"/async-function/{waiting}", headers=invoke), 403)
    assert redis_client.zscore(keys.queued("default", keys.DEFAULT_PRIORITY), waiting)
    assert web.delete(f"/async-function/{waiting}", headers=authing.admin(made)).status_code == 200


def test_an_administrator_of_few_functions_rebuilds_nothing(web: TestClient, redis_client: redis.Redis) -> None:
    few = authing.key(redis_client, "few", "admin", confined=False, functions=("add",))
    assert web.post("/async-function/tidy", headers=few).status_code == 403
    letters = web.post("/api/v1/tasks/dead/purge", json={"ids": ["x"]}, headers=few)
    assert letters.json()["skipped"] == {"x": "it is not recorded"}
    wider = web.post("/api/v1/keys", json={"name": "wide", "role": "admin"}, headers=few)
    assert "may call only add" in problem(wider, 403)["detail"]


def test_a_release_builds_nothing_for_a_key_that_may_not_build(
    web: TestClient, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    functions = web.app.state.gateway.deployment.functions  # type: ignore[attr-defined]
    monkeypatch.setitem(functions, "build_index", functions["cut"])
    few = authing.key(redis_client, "few", "admin", confined=False, functions=("add",))
    told = problem(web.post("/admin/index/release", json={"index": "default"}, headers=few), 403)
    assert "may not call build_index, only add" in told["detail"]


def test_a_replay_calls_no_function_that_its_key_may_not_call(
    web: TestClient, made: Settings, redis_client: redis.Redis
) -> None:
    few = authing.key(redis_client, "few", "admin", confined=False, functions=("add",))
    wish = {"bucket": "documents"}
    told = problem(web.post("/admin/replay", json=wish, headers=few), 403)
    assert "A replay of documents calls embed; the key few may call add." in told["detail"]
    assert not redis_client.keys("tundish:replay*"), "nothing was begun"
    begun = web.post("/admin/replay", json=wish, headers=authing.admin(made))
    assert begun.status_code == 202
    place = begun.headers["location"]
    assert web.get(place, headers=few).status_code == 200
    assert "may call add" in problem(web.delete(place, headers=few), 403)["detail"]
    able = authing.key(redis_client, "able", "admin", confined=False, functions=("add", "embed"))
    assert web.delete(place, headers=able).json()["state"] == "cancelled"
    assert web.post("/admin/replay", json=wish, headers=able).status_code == 202


def test_a_queue_is_purged_by_a_key_that_may_call_all_of_its_functions(
    web: TestClient, made: Settings, redis_client: redis.Redis
) -> None:
    few = authing.key(redis_client, "few", "admin", confined=False, functions=("add",))
    sent = web.post("/async-function/cut", headers=authing.admin(made)).json()["task_id"]
    told = problem(web.post("/api/v1/tasks/queue/default/purge", headers=few), 403)
    assert "would cancel calls of " in told["detail"] and "the key few may call add." in told["detail"]
    assert redis_client.hget(keys.invocation(sent), "state") == b"queued", "nothing was cancelled"
    all_of_it = web.app.state.gateway.project.functions  # type: ignore[attr-defined]
    able = authing.key(redis_client, "able", "admin", confined=False, functions=tuple(all_of_it))
    assert web.post("/api/v1/tasks/queue/default/purge", headers=able).json()["cancelled"] == 1


def test_whose_idempotency_key_it_is(web: TestClient, redis_client: redis.Redis) -> None:
    sent = [
        web.post("/async-function/cut", headers={**authing.key(redis_client, name, "invoke"), "Idempotency-Key": "k"})
        for name in ("one", "two")
    ]
    assert sent[0].json()["task_id"] != sent[1].json()["task_id"]


def test_an_object_calls_no_function_that_its_key_may_not_call(web: TestClient, redis_client: redis.Redis) -> None:
    some = authing.key(redis_client, "some", "invoke", functions=("add",))
    for send in (web.put, web.delete):
        told = problem(send("/buckets/documents/a.txt", headers=some), 403)
        assert "documents/a.txt calls embed" in told["detail"]
        problem(send("/buckets/documents/a.bin", headers=some), 503)  # which calls nothing; there is no store here
        problem(send("/buckets/documents/a.txt", headers=authing.key(redis_client, send.__name__, "invoke")), 503)


@pytest.mark.parametrize("file", ["functions.yaml", "runtime/templates/project/search.yaml.tmpl"])
def test_what_builds_and_cleans_is_for_administrators_as_it_ships(file: str) -> None:
    text = (ROOT / file).read_text().partition("\nfunctions:")[2] or (ROOT / file).read_text()
    functions = yaml.safe_load(text)
    ours = {"build_index", "hot_swap", "compact_index", "embed_all", "cleanup"}
    assert ours <= {name for name, one in functions.items() if one.get("role") == "admin"}
