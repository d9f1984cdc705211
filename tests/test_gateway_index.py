"""`/admin/index/…` over a real index: versions, rollback, release, urgency."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from starlette.testclient import TestClient

from gateway.app import create_app
from runtime import keys
from runtime.config.settings import Function, Settings, StoreSettings
from runtime.index.port import FaissIndex
from runtime.store.port import MinioStore
from tests.gatewaying import ORIGIN, deployment, problem, settings
from tests.indexing import put, write
from tests.workers import queued, until


@pytest.fixture
def made(broker_url: str, store_settings: StoreSettings, redis_client: redis.Redis, tmp_path: Path) -> Settings:
    own = store_settings.model_copy(update={"bucket": f"tundish-{uuid.uuid4().hex[:12]}"})
    MinioStore(own).ensure_bucket(own.bucket)
    found = settings(broker_url, own, tmp_path)
    functions = {**found.project.functions, "build_index": Function(name="build_index", handler="f.py:build")}
    return found.model_copy(update={"project": found.project.model_copy(update={"functions": functions})})


@pytest.fixture
def index(made: Settings, redis_client: redis.Redis) -> FaissIndex:
    return FaissIndex(MinioStore(made.store), redis_client)


@pytest.fixture
def web(made: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(made, deployment(made)), ORIGIN, client=("127.0.0.1", 1)) as client:
        yield client


def published(index: FaissIndex, name: str, seq: int) -> int:
    write(index, name, put(name, seq))
    return index.build("default").generation


def test_rollback_and_release(web: TestClient, index: FaissIndex, redis_client: redis.Redis) -> None:
    first, second = published(index, "a", 1), published(index, "b", 2)
    answer = web.post("/admin/index/rollback", json={"generation": first})
    assert answer.status_code == 200, answer.text
    assert {"generation": second + 1, "held": True, "restores": first}.items() <= answer.json().items()

    def loaded(generation: int) -> bool:
        told = web.get("/admin/index-version").json()
        return bool(told["generation"] == generation and told["up_to_date"])

    until(lambda: loaded(second + 1))
    told = web.get("/admin/index-version").json()["newest"]
    assert (told["documents"], told["held"]) == (1, True)
    versions = web.get("/admin/index/versions").json()["versions"]
    assert [(one["generation"], one["restores"]) for one in versions] == [(3, 1), (2, None), (1, None)]
    (newest,) = web.get("/admin/index/versions?limit=1").json()["versions"]
    assert newest["generation"] == 3

    answer = web.post("/admin/index/release", json={})
    assert answer.status_code == 200, answer.text
    assert answer.json()["released"] is True
    assert answer.json()["version"]["held"] is False
    (build,) = queued(redis_client)
    assert build == answer.json()["task_id"]
    task = web.get(f"/api/v1/tasks/task/{build}").json()
    assert task["function"] == "build_index"
    again = web.post("/admin/index/release").json()
    assert (again["released"], again["task_id"]) == (False, None)
    until(lambda: loaded(second + 2))


def test_what_is_wrong_is_named(web: TestClient, index: FaissIndex) -> None:
    assert "no version yet" in problem(web.post("/admin/index/release", json={}), 422)["detail"]
    first = published(index, "a", 1)
    path = "/admin/index/rollback"
    assert "is the current one" in problem(web.post(path, json={"generation": first}), 422)["detail"]
    assert "Kept are 1" in problem(web.post(path, json={"generation": 7}), 422)["detail"]
    assert "no index other" in problem(web.post(path, json={"generation": 1, "index": "other"}), 404)["detail"]
    for wrong in ({}, {"generation": 0}, {"generation": "x"}, {"generation": 1, "indx": "default"}):
        (error,) = problem(web.post(path, json=wrong), 422)["errors"]
        assert error["field"] in ("generation", "indx")


def test_urgency_is_told(web: TestClient, index: FaissIndex) -> None:
    empty = web.get("/admin/index-version").json()
    assert empty["indexes"] == ["default"]
    assert (empty["migration_urgency"], empty["advice"], empty["capacity"]) == (0, "fine", None)
    published(index, "a", 1)
    told = web.get("/admin/index-version").json()
    assert told["advice"] == "fine"
    assert told["capacity"]["vectors_in_memory"] > 0 and told["capacity"]["search_p99_ms"] is None
    assert told["capacity"]["next_step"].startswith("Nothing")


def test_capacity_is_told_by_what_searches_take_here(
    web: TestClient, index: FaissIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.urgency._MEASURED_FROM", 1)
    monkeypatch.setattr("gateway.search.times.ENOUGH", 3)
    published(index, "a", 1)
    for _ in range(3):
        assert web.post("/search", json={"vector": [1.0] * 16, "k": 1}).status_code == 200
    assert web.get("/admin/index-version").json()["capacity"]["search_p99_ms"] > 0


def test_the_newest_reload(web: TestClient, redis_client: redis.Redis) -> None:
    assert web.get("/admin/reload").json() == {"reload": None}
    told = {"at": 1772366400.0, "ok": False, "message": "functions.yaml:3: unknown key", "files": ["f"], "queues": []}
    redis_client.set(keys.RELOAD, json.dumps(told))
    assert web.get("/admin/reload").json() == {"reload": told}
