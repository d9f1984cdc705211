"""A migration as the gateway sees it: begun, followed and ended over HTTP; searched while it switches."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import anyio.to_thread
import numpy as np
import pytest
import redis
from click.testing import CliRunner
from starlette.testclient import TestClient

from gateway.app import create_app
from runtime.cli.main import cli
from runtime.config.settings import Function, Settings, StoreSettings
from runtime.embedding.client import EmbedderClient
from runtime.errors import ServiceFailed
from runtime.index.migration_state import MigrationState
from runtime.index.port import FaissIndex
from runtime.store.port import MinioStore
from tests.gatewaying import ORIGIN, deployment, problem, settings
from tests.indexing import Vectors, put, vector, write
from tests.migrating import OLD, OtherModels
from tests.workers import queued, until

NEW = OtherModels("small", 8)
DIMENSIONS = {OLD: 16, NEW.name: 8}


@pytest.fixture
def made(broker_url: str, store_settings: StoreSettings, redis_client: redis.Redis, tmp_path: Path) -> Settings:
    own = store_settings.model_copy(update={"bucket": f"tundish-{uuid.uuid4().hex[:12]}"})
    MinioStore(own).ensure_bucket(own.bucket)
    found = settings(broker_url, own, tmp_path)
    functions = {**found.project.functions, "migrate_index": Function(name="migrate_index", handler="f.py:migrate")}
    changes = {"functions": functions, "models": {"small": "folder", "large": "folder"}}
    return found.model_copy(update={"project": found.project.model_copy(update=changes)})


@pytest.fixture
def index(made: Settings, redis_client: redis.Redis) -> FaissIndex:
    found = FaissIndex(MinioStore(made.store), redis_client)
    write(found, "b1", put("apple.txt", 1, "apple"), put("pear.txt", 2, "pear"))
    found.build("default")
    return found


@pytest.fixture
def web(made: Settings, index: FaissIndex) -> Iterator[TestClient]:
    with TestClient(create_app(made, deployment(made)), ORIGIN, client=("127.0.0.1", 1)) as client:
        until(lambda: client.get("/admin/index-version").json()["generation"] == 1)
        yield client


def migrate(index: FaissIndex) -> None:
    index.migrate("default", NEW, run="run", task="run", stop=lambda: False, report=lambda *_: None)


def reader_of(web: TestClient) -> Any:
    app: Any = web.app
    return app.state.gateway.indexes._reader


async def embed(_: EmbedderClient, texts: Sequence[str], model: str = "") -> Vectors:
    return np.array([vector(text, DIMENSIONS[model]) for text in texts])


def test_texts_are_embedded_with_the_model_of_the_version(
    web: TestClient, index: FaissIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[tuple[str, int]] = []

    async def load(_: EmbedderClient, model: str) -> None:
        loaded.append((model, reader_of(web).version("default").generation))
        raise ServiceFailed("and even where it cannot, the new version answers")

    monkeypatch.setattr(EmbedderClient, "embed", embed)
    monkeypatch.setattr(EmbedderClient, "load", load)
    assert web.get("/search?q=apple&k=1").json()["results"][0]["key"] == "apple.txt"
    migrate(index)
    until(lambda: web.get("/admin/index-version").json()["generation"] == 2)
    answer = web.get("/search?q=pear&k=1").json()
    assert (answer["generation"], answer["results"][0]["key"]) == (2, "pear.txt")
    assert answer["results"][0]["score"] == pytest.approx(1.0)
    assert (NEW.name, 1) in loaded, "it was loaded while the old version answered"
    told = problem(web.post("/search", json={"vector": [1.0] * 16}), 422)
    assert "needs 8" in told["errors"][0]["message"]


def test_a_switch_while_a_text_is_embedded(web: TestClient, index: FaissIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def slow(client: EmbedderClient, texts: Sequence[str], model: str = "") -> Vectors:
        asked.append(model)
        if len(asked) == 1:
            await anyio.to_thread.run_sync(migrate, index)
            await anyio.to_thread.run_sync(reader_of(web).refresh, "default")
            assert reader_of(web).version("default").dimensions == 8
        return await embed(client, texts, model)

    monkeypatch.setattr(EmbedderClient, "embed", slow)
    answer = web.get("/search?q=pear&k=1")
    assert (answer.status_code, asked) == (200, [OLD, NEW.name])
    assert (answer.json()["generation"], answer.json()["results"][0]["key"]) == (2, "pear.txt")
    monkeypatch.setattr("gateway.search.search._vector", other_vector)
    assert "changes its model" in problem(web.get("/search?q=pear"), 503)["detail"]


def test_another_engine_has_to_be_named_first(web: TestClient) -> None:
    told = problem(web.post("/admin/index/migrate", json={"engine": "qdrant"}), 422)
    assert "does not say where Qdrant is" in told["errors"][0]["message"]
    for body in ({}, {"engine": "qdrant", "model": "small"}):
        told = problem(web.post("/admin/index/migrate", json=body), 422)
        assert told["errors"][0]["message"] == "give either model or engine"
    answer = web.post("/admin/index/migrate", json={"engine": "faiss", "recall": 0.9})
    assert (answer.status_code, answer.json()["engine"]) == (202, "faiss")


async def other_vector(*_: Any) -> tuple[str, Vectors]:
    return OLD, vector("pear", 8)


def test_begun_followed_and_ended(web: TestClient, redis_client: redis.Redis) -> None:
    assert web.get("/admin/index/migration").json() == {
        "index": "default",
        "models": ["all-MiniLM-L6-v2", "small", "large"],
        "migration": None,
    }
    answer = web.post("/admin/index/migrate", json={"model": "small"})
    assert answer.status_code == 202, answer.text
    run = answer.json()["task_id"]
    (task,) = queued(redis_client)
    assert task == run
    told = web.get("/admin/index/migration").json()["migration"]
    assert (told["state"], told["model"], told["run"], told["done"]) == ("running", "small", run, 0)
    again = web.post("/admin/index/migrate", json={"model": "small"})
    assert (again.status_code, again.json()["task_id"], len(queued(redis_client))) == (202, run, 1)
    assert "on its way to small" in problem(web.post("/admin/index/migrate", json={"model": "large"}), 409)["detail"]

    assert web.post("/admin/index/migrate/cancel", json={}).json() == {"index": "default", "cancelled": True}
    assert web.post("/admin/index/migrate/cancel", json={}).json()["cancelled"] is False
    assert web.get("/admin/index/migration").json()["migration"]["state"] == "cancelled"
    assert not MigrationState(redis_client, "default").begin(run, run, "small"), "the call that waits does nothing"
    assert web.post("/admin/index/migrate", json={"model": "large"}).status_code == 202


def test_a_call_that_failed_is_no_migration_under_way(web: TestClient, redis_client: redis.Redis) -> None:
    run = web.post("/admin/index/migrate", json={"model": "small"}).json()["task_id"]
    assert web.post(f"/api/v1/tasks/task/{run}/revoke").status_code < 300
    told = web.get("/admin/index/migration").json()["migration"]
    assert told["state"] == "failed" and run in told["message"]
    assert web.post("/admin/index/migrate", json={"model": "small"}).json()["task_id"] != run


def test_what_is_wrong_is_named(web: TestClient, made: Settings) -> None:
    told = problem(web.post("/admin/index/migrate", json={"model": "smal"}), 422)
    assert told["errors"] == [{"field": "model", "message": "there is no model smal, did you mean small?"}]
    problem(web.post("/admin/index/migrate", json={}), 422)
    for method, path in (("GET", "migration?index=no"), ("POST", "migrate"), ("POST", "migrate/cancel")):
        body = None if method == "GET" else {"index": "no", **({"model": "small"} if path == "migrate" else {})}
        assert "no index no" in problem(web.request(method, f"/admin/index/{path}", json=body), 404)["detail"]
    functions = {name: spec for name, spec in made.project.functions.items() if name != "migrate_index"}
    less = made.model_copy(update={"project": made.project.model_copy(update={"functions": functions})})
    with TestClient(create_app(less, deployment(less)), ORIGIN, client=("127.0.0.1", 1)) as other:
        told = problem(other.post("/admin/index/migrate", json={"model": "small"}), 404)
        assert "no function migrate_index" in told["detail"]


class Answers:
    """Stands for the CLI's client: `migration` is what the gateway tells, one after the other."""

    def __init__(self, *migrations: dict[str, Any] | None) -> None:
        self.migrations = list(migrations)
        self.posted: list[tuple[str, dict[str, Any]]] = []

    def get(self, path: str, **_: str) -> dict[str, Any]:
        assert path == "/admin/index/migration"
        return {"migration": self.migrations.pop(0)}

    def post(self, path: str, given: dict[str, Any]) -> dict[str, Any]:
        self.posted.append((path, given))
        return {"task_id": "run", "cancelled": True}


def told(state: str, **more: Any) -> dict[str, Any]:
    return {
        "run": "run", "state": state, "model": "small", "done": 3, "total": 4,
        "began": 10.0, "updated": 22.0, "message": "", **more,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "answers", "code", "output"),
    [
        ("--model small", [told("running"), told("done", done=4)], 0, "now made with small (4 of 4 batches in 12 s)"),
        ("--model small", [told("failed", message="No.")], 1, "to small failed at 3 of 4 batches in 12 s. No."),
        (
            "--model small",
            [told("running", run="other")],
            1,
            "cancelled at 3 of 4 batches in 12 s. another one",
        ),
        ("--model small --no-wait", [], 0, "index default: run brings it to small"),
        ("--status", [told("running")], 0, "on its way to small: 3 of 4 batches"),
        ("--status", [None], 0, "no migration was ever begun"),
        ("--cancel", [], 0, "the migration is cancelled; the index keeps its model"),
        ("", [], 2, "Give one of --model, --engine, --status and --cancel"),
        ("--model small --cancel", [], 2, "Give one of"),
    ],
)
def test_the_command(
    words: str, answers: list[dict[str, Any] | None], code: int, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Answers(*answers)
    monkeypatch.setattr("runtime.cli.client.find", lambda environ: client)
    monkeypatch.setattr("runtime.cli.index_migrate._POLL_SECONDS", 0.0)
    done = CliRunner().invoke(cli, ["index", "migrate", *words.split()], obj={})
    assert (done.exit_code, output in done.output) == (code, True), done.output
    assert not client.migrations
