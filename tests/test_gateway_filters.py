"""Filters, least scores and grouping over HTTP and from the command line, against a real index in a real store."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import redis
from starlette.testclient import TestClient

from runtime.config.settings import Settings, StoreSettings
from runtime.context import Row
from runtime.index.port import FaissIndex
from runtime.store.port import MinioStore
from tests.gatewaying import problem, serving, settings
from tests.workers import until

NOW = 1_700_000_000
DOCUMENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "2023/old.md": ("documents", {"content_type": "text/markdown", "modified": NOW, "metadata": {"year": "2021"}}),
    "2024/new.md": ("documents", {"content_type": "text/markdown", "modified": NOW + 60, "metadata": {"year": "2024"}}),
    "2024/a.pdf": ("reports", {"content_type": "application/pdf", "modified": NOW + 120, "metadata": {"team": "a&b"}}),
    "2024/b.pdf": ("reports", {"content_type": "application/pdf", "metadata": {"team": "c", "year": "2022"}}),
    "note": ("", {"year": 2022, "draft": True}),
}
"""One axis each; the vector of the searches is nearest to the first."""

VECTOR = [1, 0.9, 0.8, 0.7, 0.6]


@pytest.fixture(scope="module")
def made(broker_url: str, store_settings: StoreSettings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    own = store_settings.model_copy(update={"bucket": f"tundish-{uuid.uuid4().hex[:12]}"})
    store = MinioStore(own)
    store.ensure_bucket(own.bucket)
    client = redis.Redis.from_url(broker_url)
    index = FaissIndex(store, client)
    rows = [
        Row(bucket, key, "e", seq, chunk=chunk, text=f"{key} {chunk}", meta=meta)
        for seq, (key, (bucket, meta)) in enumerate(DOCUMENTS.items())
        for chunk in range(2)
    ]
    vectors = np.repeat(np.eye(len(DOCUMENTS), dtype=np.float32), 2, axis=0)
    index.write_batch("default", uuid.uuid4().hex * 2, rows, vectors, "test")
    index.build("default")
    client.close()
    return settings(broker_url, own, tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def web(made: Settings) -> Iterator[TestClient]:
    with serving(made) as client:
        until(lambda: client.get("/search?vector=1,0,0,0,0").headers["x-index-version"] != "none")
        yield client


def keys(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [hit["key"] for hit in answer.json()["results"]]


@pytest.mark.parametrize(
    ("wanted", "spread", "places"),
    [
        ({}, {}, "01234"),
        ({"bucket": "reports"}, {"bucket": "reports"}, "23"),
        ({"bucket": ["reports", "documents"]}, {"bucket": ["reports", "documents"]}, "0123"),
        ({"prefix": ["2023/", "2024/n"]}, {"prefix": ["2023/", "2024/n"]}, "01"),
        ({"type": "text/*"}, {"type": "text/*"}, "01"),
        ({"type": "Application/PDF"}, {"type": "Application/PDF"}, "23"),
        ({"since": NOW + 60}, {"since": str(NOW + 60)}, "12"),
        ({"until": "2023-11-14T22:14:20Z"}, {"until": "2023-11-14T22:14:20Z"}, "01"),
        ({"since": "1m"}, {"since": "1m"}, ""),
        ({"meta": {"team": "a&b"}}, {"meta.team": "a&b"}, "2"),
        ({"meta": {"team": ["c", "a&b"]}}, {"meta.team": ["c", "a&b"]}, "23"),
        ({"meta": {"year": "2022"}}, {"meta.year": "2022"}, "34"),
        ({"meta": {"year": 2022}}, None, "34"),
        ({"meta": {"year": {"min": 2022}}}, None, "134"),
        ({"meta": {"year": {"max": 2023, "min": 2021.5}}}, None, "34"),
        ({"meta": {"year": [{"max": 2021}, 2024]}}, None, "01"),
        ({"meta": {"draft": True}}, {"meta.draft": "true"}, "4"),
        ({"meta": {"Year": "2022"}}, {"meta.Year": "2022"}, ""),
        ({"prefix": "2024/", "type": "text/markdown"}, {"prefix": "2024/", "type": "text/markdown"}, "1"),
    ],
)
def test_a_body_a_parameter_and_parameters_of_fields_ask_the_same(
    web: TestClient, wanted: dict[str, Any], spread: dict[str, Any] | None, places: str
) -> None:
    expected = [key for place, key in enumerate(DOCUMENTS) if str(place) in places]
    asked = {"vector": VECTOR, "group": "document", "filter": wanted}
    assert keys(web.post("/search", json=asked)) == expected
    plain = {"vector": json.dumps(VECTOR), "group": "document"}
    assert keys(web.get("/search", params={**plain, "filter": json.dumps(wanted)})) == expected
    if spread is not None:
        assert keys(web.get("/search", params={**plain, **spread})) == expected


def test_documents_with_their_best_chunk_and_the_number_of_others(web: TestClient) -> None:
    chunks = web.post("/search", json={"vector": VECTOR, "k": 3}).json()["results"]
    assert [hit["key"] for hit in chunks] == ["2023/old.md", "2023/old.md", "2024/new.md"]
    assert all("further" not in hit for hit in chunks)
    documents = web.post("/search", json={"vector": VECTOR, "k": 3, "group": "document"}).json()["results"]
    assert [(hit["key"], hit["further"]) for hit in documents] == [
        ("2023/old.md", 1),
        ("2024/new.md", 1),
        ("2024/a.pdf", 1),
    ]


def test_a_least_score(web: TestClient) -> None:
    best = web.post("/search", json={"vector": VECTOR}).json()["results"][0]["score"]
    for limit, expected in ((best, 2), (best + 1e-3, 0), (-1, 10)):
        assert len(keys(web.get(f"/search?vector=1,0.9,0.8,0.7,0.6&k=10&min_score={limit}"))) == expected


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ([], "filter"),
        ("x", "filter"),
        ({"buckets": "a"}, "filter.buckets"),
        ({"bucket": ""}, "filter.bucket"),
        ({"bucket": []}, "filter.bucket"),
        ({"bucket": 1}, "filter.bucket"),
        ({"prefix": ["a"] * 101}, "filter.prefix"),
        ({"prefix": ["a", "b" * 1025]}, "filter.prefix"),
        ({"type": "pdf"}, "filter.type"),
        ({"type": ["text/*", "*/*"]}, "filter.type"),
        ({"since": "yesterday"}, "filter.since"),
        ({"since": 10, "until": 5}, "filter.until"),
        ({"meta": {}}, None),
        ({"meta": {"": "x"}}, "filter.meta"),
        ({"meta": {"a": None}}, "filter.meta.a"),
        ({"meta": {"a": []}}, "filter.meta.a"),
        ({"meta": {"a": ["x"] * 101}}, "filter.meta.a"),
        ({"meta": {"a": "x" * 1025}}, "filter.meta.a"),
        ({"meta": {"a": {}}}, "filter.meta.a"),
        ({"meta": {"a": {"mim": 1}}}, "filter.meta.a"),
        ({"meta": {"a": {"min": "1"}}}, "filter.meta.a"),
        ({"meta": {"a": {"min": 2, "max": 1}}}, "filter.meta.a"),
        ({"meta": {"a": 10**400}}, "filter.meta.a"),
        ({"meta": {str(at): "x" for at in range(33)}}, "filter.meta"),
    ],
)
def test_bad_filters(web: TestClient, wanted: Any, field: str | None) -> None:
    answer = web.post("/search", json={"vector": VECTOR, "filter": wanted})
    if field is None:
        assert answer.status_code == 200
        return
    found = [error["field"] for error in problem(answer, 422)["errors"]]
    assert len(found) == 1 and found[0].startswith(field)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("filter={", "filter"),
        ("filter=[]", "filter"),
        ("filter={}&bucket=a", "filter"),
        ("bucket=", "bucket"),
        ("type=pdf", "type"),
        ("since=NaN", "since"),
        ("meta.=x", "meta"),
        ("buckets=x", "buckets"),
        ("min_score=2", "min_score"),
        ("min_score=NaN", "min_score"),
        ("group=chunk", "group"),
    ],
)
def test_bad_parameters(web: TestClient, query: str, field: str) -> None:
    told = problem(web.get(f"/search?vector=1,0,0,0,0&{query}"), 422)["errors"]
    assert [error["field"].startswith(field) for error in told] == [True]


def test_every_bad_field_is_named_at_once(web: TestClient) -> None:
    told = problem(web.post("/search", json={"q": 1, "min_score": 3, "filter": {"type": "x", "bukket": "a"}}), 422)
    assert {error["field"] for error in told["errors"]} == {"q", "min_score", "filter.type", "filter.bukket"}
