"""`tundish index verify --recall`: what an index finds of what is nearest, against an exact scan."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis

from runtime.config.settings import StoreSettings
from runtime.index import recall
from runtime.index.cache import SegmentCache
from runtime.index.segment import Segment
from tests.indexing import DIMENSIONS, vector
from tests.verifying import World


@pytest.fixture
def world(store_settings: StoreSettings, broker_url: str, redis_client: redis.Redis, tmp_path: Path) -> World:
    """Sixty chunks in two segments, three of them dead."""
    made = World(store_settings, broker_url, redis_client, tmp_path)
    made.settled(*(f"a{number}" for number in range(19)))
    made.settled("a0", "b")
    return made


def half(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine finds the better half of what it should, unless it is asked to be exact."""
    whole = Segment.search

    def search(segment: Segment, queries: Any, k: int, allowed: Any = None, *, exact: bool = False) -> Any:
        found = whole(segment, queries, k, allowed, exact=exact)
        return found if exact else [(scores[: k // 2], rows[: k // 2]) for scores, rows in found]

    monkeypatch.setattr(Segment, "search", search)


def test_an_index_that_finds_all(world: World) -> None:
    code, output = world.verify("--recall")
    assert code == 0
    assert "recall@10 1.00000 (flat; 60 queries, 0 of them texts; the worst has 1.00)" in output
    code, output = world.verify("--recall", "--sample", "7", "--json")
    (report,) = json.loads(output)["indexes"]
    assert code == 0
    assert report["recall"] == {
        "k": 10,
        "queries": 7,
        "texts": 0,
        "recall": 1.0,
        "worst": 1.0,
        "kind": "flat",
        "least": 0.999,
    }
    assert json.loads(world.verify("--json")[1])["indexes"][0]["recall"] is None


def test_an_index_that_misses_some(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two segments give five each of which not all are among the best ten."""
    half(monkeypatch)
    code, output = world.verify("--recall", "--sample", "20")
    assert code == 1
    assert "agree" in output and "It should be 0.999 at least." in output
    (report,) = json.loads(world.verify("--recall", "--json")[1])["indexes"]
    assert 0.4 < report["recall"]["recall"] < 0.999 and report["recall"]["worst"] < 0.9 and not report["ok"]


def test_an_index_of_nothing(world: World) -> None:
    world.index.write_batch("empty", "d" * 64, [], np.empty((0, DIMENSIONS), np.float32), "model")
    assert world.verify("--index", "empty", "--recall")[0] == 0


def test_texts_are_asked_for_where_somebody_embeds_them(world: World, tmp_path: Path) -> None:
    asked: list[str] = []

    def embed(texts: Sequence[str]) -> Any:
        asked.extend(texts)
        return np.array([vector(text) for text in texts])

    loaded = recall.opened(SegmentCache(tmp_path / "recall", world.store), world.newest())
    found = recall.measure(loaded, sample=20, embed=embed)
    assert found and (found.queries, found.texts, found.recall) == (20, 10, 1.0)
    assert len(set(asked)) == 10 and all(text.startswith("docs/") for text in asked)


def test_equal_vectors_count_whichever_is_found(world: World, tmp_path: Path) -> None:
    """Fifty documents of one text: any ten of them are right."""
    etags = {f"same{number}": "e" for number in range(50)}
    rows = world.embed(**etags)
    assert rows
    world.index.build("default")
    loaded = recall.opened(SegmentCache(tmp_path / "recall", world.store), world.newest())
    found = recall.measure(loaded, sample=30, k=3)
    assert found and found.recall == 1.0
