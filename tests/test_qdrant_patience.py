"""What a Qdrant is asked with care for: its state after a restart, the size of requests, an index that has words."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from qdrant_client import models
from starlette.testclient import TestClient

from runtime.config.engine import EngineSpec
from runtime.config.limits import IndexSpec
from runtime.config.settings import StoreSettings
from runtime.index.qdrant import collection
from runtime.index.qdrant.collection import Collection
from runtime.index.qdrant.connection import Connection
from runtime.index.qdrant.points import VECTOR
from runtime.index.qdrant.sending import MOST_BYTES, portions
from tests.gatewaying import problem, serving, settings


def test_after_a_restart_it_goes_on_with_the_first_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """Grey: it has work to do, and waits until somebody writes. Who waits for it would wait for ever."""
    monkeypatch.setattr(collection, "READY_PAUSE", 0.001)
    changed = threading.Event()

    def get_collection(name: str) -> Any:
        kinds = models.CollectionStatus
        return SimpleNamespace(status=kinds.GREEN if changed.is_set() else kinds.GREY)

    def update_collection(name: str, **changes: Any) -> None:
        assert changes == {"optimizers_config": models.OptimizersConfigDiff()}
        assert not changed.is_set(), "once is enough"
        changed.set()

    connection = Connection("default", EngineSpec(engine="qdrant", url="http://h"))
    fake = SimpleNamespace(get_collection=get_collection, update_collection=update_collection)
    connection.__dict__["client"] = fake
    assert Collection(connection, "c").wait_ready(seconds=20.0)
    assert changed.is_set()


@pytest.mark.parametrize("field", ["text", "meta"])
def test_requests_are_bounded_whatever_a_point_holds(field: str) -> None:
    large = "x" * 100_000
    payload = {"text": large} if field == "text" else {"meta": {"metadata": {"note": large}}}
    points = [models.PointStruct(id=number, vector={VECTOR: [0.5] * 8}, payload=payload) for number in range(256)]
    sizes = [len(models.PointsList(points=some).model_dump_json()) for some in portions(points)]
    assert len(sizes) > 1 and max(sizes) <= MOST_BYTES


@pytest.fixture
def web(
    broker_url: str, store_settings: StoreSettings, redis_client: redis.Redis, tmp_path: Path
) -> Iterator[TestClient]:
    found = settings(broker_url, store_settings, tmp_path)
    spec = IndexSpec(engine="faiss", url="http://127.0.0.1:9", hybrid=True)
    function = {"migrate_index": next(iter(found.project.functions.values()))}
    project = found.project.model_copy(
        update={"indexes": {"default": spec}, "functions": {**found.project.functions, **function}}
    )
    with serving(found.model_copy(update={"project": project})) as client:
        yield client


def test_an_index_with_words_is_not_moved_without_a_word(web: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """`engine: qdrant` beside `hybrid: true` is refused in functions.yaml; the way that leads there, too."""
    told = problem(web.post("/admin/index/migrate", json={"engine": "qdrant"}), 422)
    assert "remove `hybrid: true`" in told["errors"][0]["message"]
