"""Another embedding model for an index in Qdrant: a new collection beside the old one, and one switch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from runtime.context import Migration, Models
from runtime.harness.store import MemoryStore
from runtime.index import manifest
from runtime.index.search import MAX_K, Search
from tests.engines import Place
from tests.indexing import gone, put, vector, write
from tests.migrating import pair
from tests.qdrant_server import Served, serve


@pytest.fixture
def served() -> Iterator[Served]:
    with serve() as running:
        yield running


@pytest.fixture
def place(served: Served, redis_client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr("runtime.index.port.MODEL_SECONDS", -1.0)
    monkeypatch.setattr("runtime.index.port.LATE_SECONDS", -1.0)
    made = Place("qdrant", MemoryStore(), redis_client, tmp_path, served)
    index = made.index()
    write(index, "one", put("a", 1, "first", "second"), put("b", 2, "b"))
    index.build("default")
    write(index, "two", put("a", 3, "third"), gone("b", 4), put("c", 5, "c"))
    index.build("default")
    return made


def bring(place: Place, models: Models, run: str = "run", stop: Callable[[], bool] = lambda: False) -> Migration:
    return place.index().migrate("default", models, run=run, task=run, stop=stop, report=lambda *_: None)


def contents(place: Place, dimensions: int) -> dict[str, list[str]]:
    hits = place.search(Search(vector("x", dimensions), MAX_K)).hits
    return {hit.key: [hit.text] for hit in hits}


def test_there_and_back(place: Place) -> None:
    old, new = pair()
    told = bring(place, new)
    assert (told.state, told.generation) == ("done", 3)
    current = manifest.newest(place.store, "default")
    assert current and current.remote and (current.model, current.native, current.dimensions) == ("small", "model", 8)
    assert contents(place, 8) == {"a": ["third"], "c": ["c"]}
    index = place.index()
    write(index, "three", put("d", 6, "d"), dimensions=8, model="small")
    index.build("default")
    assert set(contents(place, 8)) == {"a", "c", "d"}
    index.rollback("default", 2)
    assert set(contents(place, 16)) == {"a", "c"}
    index.release("default")
    assert bring(place, old, "back").state == "done"
    index.build("default")
    assert set(contents(place, 16)) == {"a", "c", "d"}


def test_what_comes_late_is_embedded_again(place: Place) -> None:
    _, new = pair()
    bring(place, new)
    index = place.index()
    write(index, "late", put("e", 7, "e"))  # by a worker that had the old model still
    assert index.build("default").late == 1
    assert bring(place, new, "late").state == "done"
    assert set(contents(place, 8)) == {"a", "c", "e"}
