"""Searching over HTTP, against a real index in a real store."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
from hypothesis import HealthCheck, given
from hypothesis import settings as rules
from hypothesis import strategies as st
from starlette.testclient import TestClient

from runtime.config.settings import Settings, StoreSettings
from runtime.context import Row
from runtime.embedding.client import EmbedderClient
from runtime.errors import ModelWarming
from runtime.index.port import FaissIndex
from runtime.store.port import MinioStore
from tests.gatewaying import problem, serving, settings
from tests.workers import until


@pytest.fixture
def made(broker_url: str, store_settings: StoreSettings, redis_client: redis.Redis, tmp_path: Path) -> Settings:
    own = store_settings.model_copy(update={"bucket": f"tundish-{uuid.uuid4().hex[:12]}"})
    MinioStore(own).ensure_bucket(own.bucket)
    return settings(broker_url, own, tmp_path)


@pytest.fixture
def index(made: Settings, redis_client: redis.Redis) -> FaissIndex:
    return FaissIndex(MinioStore(made.store), redis_client)


@pytest.fixture
def web(made: Settings) -> Iterator[TestClient]:
    with serving(made) as client:
        yield client


def publish(index: FaissIndex, texts: list[str], name: str = "default") -> str:
    """One axis for each text."""
    seq = index.next_seq(name, len(texts))
    rows = [
        Row("documents", f"{text}.txt", "e", seq + at, text=text, end=len(text), meta={"page": at})
        for at, text in enumerate(texts)
    ]
    index.write_batch(name, uuid.uuid4().hex * 2, rows, np.eye(len(texts), 4, dtype=np.float32), "test")
    return index.build(name).version


def answers_from(web: TestClient, version: str) -> None:
    until(lambda: web.get("/search?vector=1,0,0,0").headers["x-index-version"] == version)


def test_from_empty_to_published_to_swapped(web: TestClient, index: FaissIndex) -> None:
    answer = web.get("/search", params={"vector": "1,0,0,0"})
    assert answer.json()["results"] == []
    assert answer.headers["x-index-version"] == "none"

    first = publish(index, ["one", "two"])
    answers_from(web, first)
    told = web.post("/search", json={"vector": [0, 3, 0, 0], "k": 1}).json()
    assert told.pop("took_ms") >= 0
    assert told == {
        "results": [
            {
                "bucket": "documents",
                "key": "two.txt",
                "score": pytest.approx(1.0),
                "text": "two",
                "chunk": 0,
                "start": 0,
                "end": 3,
                "etag": "e",
                "meta": {"page": 1},
            }
        ],
        "index": "default",
        "mode": "vector",
        "version": first,
        "generation": 1,
    }
    second = publish(index, ["three"])
    answers_from(web, second)
    told = web.get("/admin/index-version").json()
    assert (told["version"], told["up_to_date"], told["newest"]["vectors"]) == (second, True, 3)
    versions = web.get("/admin/index/versions").json()["versions"]
    assert [version["version"] for version in versions] == [second, first]


def test_a_version_that_nobody_announced_is_found(
    made: Settings, index: FaissIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.search.follower.POLL_SECONDS", 0.1)
    monkeypatch.setattr("gateway.search.indexes.keys.SWAP_CHANNEL", "another")
    with serving(made) as web:
        answers_from(web, publish(index, ["one"]))


def test_an_index_that_no_trigger_names(web: TestClient, index: FaissIndex) -> None:
    told = problem(web.get("/search?vector=1,0&index=side"), 404)
    assert "default" in told["detail"]
    version = publish(index, ["one"], "side")
    answer = web.get("/search?vector=1,0,0,0&index=side")
    assert (answer.status_code, answer.headers["x-index-version"]) == (200, version)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({}, "q"),
        ({"q": "  "}, "q"),
        ({"q": "a", "vector": [1, 0, 0, 0]}, "q"),
        ({"q": "a" * 20_001}, "q"),
        ({"q": 1}, "q"),
        ({"vector": []}, "vector"),
        ({"vector": [1, 0]}, "vector"),
        ({"vector": [0, 0, 0, 0]}, "vector"),
        ({"vector": [1e300, 0, 0, 0]}, "vector"),
        ({"vector": [1, "x", 0, 0]}, "vector[1]"),
        ({"q": "a", "k": 0}, "k"),
        ({"q": "a", "k": 101}, "k"),
        ({"q": "a", "k": "many"}, "k"),
        ({"q": "a", "index": "../x"}, "index"),
        ({"q": "a", "filters": {}}, "filters"),
    ],
)
def test_bad_queries(web: TestClient, index: FaissIndex, query: dict[str, Any], field: str) -> None:
    answers_from(web, publish(index, ["one"]))
    told = problem(web.post("/search", json=query), 422)
    assert [error["field"] for error in told["errors"]] == [field]


def test_bad_query_strings(web: TestClient) -> None:
    assert problem(web.get("/search?vector=NaN,1"), 422)["errors"][0]["field"] == "vector"
    assert problem(web.get("/search?vector=[1"), 422)["errors"][0]["field"] == "vector"
    problem(web.post("/search", content=b'{"vector": [NaN]}', headers={"Content-Type": "application/json"}), 400)


def test_the_first_version_has_the_embedder_load_its_model(
    made: Settings, index: FaissIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def load(_: EmbedderClient, model: str) -> None:
        asked.append(model)
        if len(asked) == 1:
            raise ModelWarming("The embedder is not running yet.")

    monkeypatch.setattr(EmbedderClient, "load", load)
    with serving(made) as web:
        answers_from(web, publish(index, ["one"]))
        answers_from(web, publish(index, ["two"]))  # one that was not there is asked again with the next look
        until(lambda: len(asked) == 2)
        answers_from(web, publish(index, ["three"]))
    assert asked == ["test", "test"]


def test_a_text_needs_the_embedder(web: TestClient, index: FaissIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    answers_from(web, publish(index, ["one", "two"]))
    answer = web.get("/search?q=hello")
    assert "embedder" in problem(answer, 503)["detail"]
    assert int(answer.headers["retry-after"]) > 0
    assert "embedder" in web.get("/plain?q=hello").text

    async def embed(_: EmbedderClient, texts: list[str], model: str = "") -> Any:
        return np.array([[0, 1, 0, 0]], np.float32)

    monkeypatch.setattr(EmbedderClient, "embed", embed)
    assert web.get("/search?q=hello").json()["results"][0]["key"] == "two.txt"
    assert "two.txt" in web.get("/plain?q=hello").text


@rules(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    query=st.dictionaries(
        st.sampled_from(["vector", "k", "index"]),
        st.none() | st.integers() | st.floats() | st.text() | st.lists(st.floats(allow_nan=False) | st.integers()),
    )
)
def test_any_query_is_answered_or_explained(web: TestClient, query: dict[str, Any]) -> None:
    answer = web.get("/search", params={name: str(value) for name, value in query.items()})
    if answer.status_code != 200:
        problem(answer, answer.status_code)
        assert answer.status_code in (404, 422)
