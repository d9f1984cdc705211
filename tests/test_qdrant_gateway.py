"""Searching an index in Qdrant over HTTP: the same answers, one request each, and 503 for that index alone."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import redis
from starlette.testclient import TestClient

from runtime.config.limits import IndexSpec
from runtime.config.settings import Settings, StoreSettings
from runtime.context import Row
from runtime.index.engines import Indexes, open_index
from runtime.store.port import MinioStore
from tests.gatewaying import problem, serving, settings
from tests.qdrant_server import Cut, Served, Status, serve
from tests.workers import until

KEY = "nobody sees this"


@pytest.fixture
def served() -> Iterator[Served]:
    with serve(key=KEY) as running:
        yield running


@pytest.fixture
def made(
    served: Served, broker_url: str, store_settings: StoreSettings, redis_client: redis.Redis, tmp_path: Path
) -> Settings:
    own = store_settings.model_copy(update={"bucket": f"tundish-{uuid.uuid4().hex[:12]}"})
    MinioStore(own).ensure_bucket(own.bucket)
    found = settings(broker_url, own, tmp_path)
    spec = IndexSpec(engine="qdrant", url=served.url, api_key=KEY, timeout=3.0)
    project = found.project.model_copy(update={"indexes": {"archive": spec}})
    return found.model_copy(update={"project": project})


@pytest.fixture
def index(made: Settings, redis_client: redis.Redis) -> Indexes:
    return open_index(lambda: made.project, MinioStore(made.store), redis_client)


@pytest.fixture
def web(made: Settings, index: Indexes) -> Iterator[TestClient]:
    for name in ("archive", "default"):
        publish(index, name, "red", "green", "blue")
    with serving(made) as client:
        yield client


def publish(index: Indexes, name: str, *texts: str) -> str:
    """One axis for each text; two chunks of each document."""
    seq = index.next_seq(name, len(texts))
    rows = [
        Row("documents", f"{text}.txt", "e", seq + at, text=text, end=len(text), meta={"metadata": {"page": str(at)}})
        for at, text in enumerate(texts)
    ]
    index.write_batch(name, uuid.uuid4().hex * 2, rows, np.eye(len(texts), 4, dtype=np.float32), "test")
    return index.build(name).version


def test_both_engines_answer_alike(web: TestClient, served: Served) -> None:
    for query in (
        {"vector": [1, 0.5, 0, 0], "k": 2},
        {"vector": [0, 1, 0, 0], "k": 3, "min_score": 0.5},
        {"vector": [1, 1, 1, 0], "k": 3, "filter": {"meta": {"page": "1"}}},
        {"vector": [1, 1, 1, 0], "k": 3, "filter": {"prefix": "b"}},
        {"vector": [0, 0, 1, 0], "k": 2, "group": "document"},
    ):
        answers = [web.post("/search", json={**query, "index": name}) for name in ("archive", "default")]
        assert [one.status_code for one in answers] == [200, 200], answers[0].text
        told = [one.json() for one in answers]
        assert told[0]["results"] == told[1]["results"], query
        assert told[0]["generation"] == 1 and answers[0].headers["x-index-version"] == told[0]["version"]


def test_one_request_each(web: TestClient, served: Served) -> None:
    web.get("/search?index=archive&vector=1,0,0,0")
    served.seen.clear()
    web.get("/search?index=archive&vector=1,0,0,0")
    (request,) = served.seen
    assert request.endswith("/points/query")


def test_a_new_version_is_taken_over(web: TestClient, index: Indexes) -> None:
    version = publish(index, "archive", "grey")
    until(lambda: web.get("/search?index=archive&vector=1,0,0,0").headers["x-index-version"] == version)
    hits = web.get("/search?index=archive&vector=1,0,0,0&k=2").json()["results"]
    assert sorted(hit["text"] for hit in hits) == ["grey", "red"]
    told = web.get("/admin/index-version?index=archive").json()
    assert (told["newest"]["kind"], told["migration_urgency"], told["capacity"]) == ("qdrant", 0.0, None)


@pytest.mark.parametrize("trouble", [Cut(), Status(503), "slow"], ids=["away", "503", "slow"])
def test_qdrant_away_or_slow(web: TestClient, served: Served, trouble: Exception | str) -> None:
    def hook(method: str, path: str) -> None:
        if isinstance(trouble, Exception):
            raise trouble
        served.stuck.wait(30)

    assert web.get("/search?index=archive&vector=1,0,0,0").status_code == 200
    served.trouble.hook = hook
    answer = web.get("/search?index=archive&vector=1,0,0,0")
    assert "Qdrant" in problem(answer, 503)["detail"]
    assert int(answer.headers["retry-after"]) > 0 and KEY not in answer.text
    assert web.get("/search?index=default&vector=1,0,0,0").status_code == 200, "that index only"
    assert web.get("/readyz").json()["checks"].get("index default") is None
    served.stuck.set()
    served.trouble.hook = lambda method, path: None
    assert web.get("/search?index=archive&vector=1,0,0,0").status_code == 200


def test_a_collection_that_was_replaced(web: TestClient, served: Served, index: Indexes) -> None:
    """A gateway that has not heard of the newest version finds its collection gone, and looks again."""
    (old,) = (one.name for one in served.client.get_collections().collections)
    index.remote.builder._tell = lambda current: None
    report = index.rebuild("archive", "for a test")
    served.client.delete_collection(old)
    answer = web.get("/search?index=archive&vector=1,0,0,0")
    assert answer.status_code == 200 and answer.json()["generation"] == report.generation == 2


def test_bad_queries(web: TestClient) -> None:
    problem(web.get("/search?index=archive&vector=1,0"), 422)
    problem(web.post("/search", json={"index": "archive", "q": "red", "mode": "text"}), 422)
