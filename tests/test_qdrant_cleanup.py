"""What is removed from Qdrant, and what never is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from qdrant_client import models

from runtime.harness.store import MemoryStore
from runtime.index import manifest
from runtime.index.qdrant import ledger
from runtime.index.qdrant.collection import Collection, switch
from tests.engines import Place
from tests.indexing import gone, put, write
from tests.qdrant_server import Served, serve

DAY = 86_400.0


@pytest.fixture
def served() -> Iterator[Served]:
    with serve() as running:
        yield running


@pytest.fixture
def place(served: Served, redis_client: redis.Redis, tmp_path: Path) -> Place:
    return Place("qdrant", MemoryStore(), redis_client, tmp_path, served)


def collections(served: Served) -> set[str]:
    return {one.name for one in served.client.get_collections().collections}


def later(place: Place, days: float) -> None:
    place.later = days * DAY


def test_collections_that_nothing_needs(place: Place, served: Served) -> None:
    strange = models.VectorParams(size=4, distance=models.Distance.DOT)
    served.client.create_collection("tundish_default_99_of_another_system", vectors_config=strange)
    index = place.index()
    write(index, "one", put("a", 1, "first"))
    index.build("default")
    (old,) = collections(served) - {"tundish_default_99_of_another_system"}
    index.rebuild("default", "for a test")
    assert len(collections(served)) == 3
    assert place.index().cleanup("default", 7 * DAY)["collections"] == 0, "a version in use a moment ago is kept"
    later(place, 8)
    counts = place.index().cleanup("default", 7 * DAY)
    assert (counts["collections"], counts["manifests"]) == (1, 1)
    assert old not in collections(served) and len(collections(served)) == 2
    assert place.contents() == {"a": ["first"]}
    assert place.index().cleanup("default", 7 * DAY)["collections"] == 0


def test_a_build_that_was_killed_leaves_nothing(place: Place, served: Served) -> None:
    index = place.index()
    write(index, "one", put("a", 1, "first"))
    index.build("default")
    kept = collections(served)
    ledger.begin(place.store, "default", 7, "build")
    made = ledger.begin(place.store, "default", 8, "build")
    Collection(index.remote.connect("default"), made.collection).create(16)
    assert place.index().cleanup("default", 7 * DAY)["collections"] == 0, "somebody may be filling it"
    later(place, 1)
    assert place.index().cleanup("default", 7 * DAY)["collections"] == 1
    assert collections(served) == kept == {one.collection for one in ledger.listed(place.store, "default")}


def test_the_alias_is_that_of_the_newest_version(place: Place, served: Served) -> None:
    """Whoever published it may have died before he could say so."""
    index = place.index()
    write(index, "one", put("a", 1, "first"))
    index.build("default")
    (old,) = collections(served)
    index.rebuild("default", "for a test")
    (new,) = collections(served) - {old}
    for mend in (lambda: place.index().build("default"), lambda: place.index().cleanup("default", 7 * DAY)):
        switch(index.remote.connect("default"), "tundish_default", old)
        mend()
        (alias,) = served.client.get_aliases().aliases
        assert alias.collection_name == new


def test_after_a_move_to_files_nothing_stays(place: Place, served: Served) -> None:
    index = place.index()
    write(index, "one", put("a", 1, "first"))
    index.build("default")
    index.move("default", "faiss", recall=0.99, run="r", task="r", stop=lambda: False, report=lambda *_: None)
    assert place.index().cleanup("default", 7 * DAY)["collections"] == 0, "somebody may go back to it"
    later(place, 8)
    assert place.index().cleanup("default", 7 * DAY)["collections"] == 1
    assert collections(served) == set() and not served.client.get_aliases().aliases
    assert not list(ledger.listed(place.store, "default"))
    assert place.contents() == {"a": ["first"]}


def test_what_a_rollback_holds_is_kept(place: Place, served: Served) -> None:
    index = place.index()
    write(index, "one", put("a", 1, "first"))
    index.build("default")
    index.rebuild("default", "for a test")
    index.rollback("default", 1)
    later(place, 30)
    place.index().cleanup("default", 7 * DAY)
    assert place.contents() == {"a": ["first"]}
    (alias,) = served.client.get_aliases().aliases
    assert alias.collection_name in collections(served)


def test_points_that_no_version_sees(place: Place, served: Served) -> None:
    index = place.index()
    write(index, "one", put("a", 1, "first", "second"), put("b", 2, "b"))
    index.build("default")
    write(index, "two", put("a", 3, "third"), gone("b", 4))
    index.build("default")
    assert place.index().cleanup("default", 7 * DAY)["points"] == 0, "somebody may go back to it"
    assert place.contents(1) == {"a": ["first", "second"], "b": ["b"]}
    later(place, 8)
    assert place.index().cleanup("default", 7 * DAY)["points"] == 3
    assert place.contents() == {"a": ["third"]}
    write(place.index(), "late", put("b", 3, "older than its delete"))
    place.index().build("default")
    assert place.contents() == {"a": ["third"]}, "that it was deleted is still known"


def test_what_an_attempt_left_that_never_counted(place: Place, served: Served) -> None:
    index = place.index()
    write(index, "one", put("a", 1, "first"))
    index.build("default")
    current = manifest.newest(place.store, "default")
    assert current and current.remote
    orphan = models.PointStruct(
        id=7,
        vector={"chunk": [1.0] + [0.0] * 15},
        payload={"kind": "chunk", "born": current.remote.epoch + 1, "died": 2**53 - 1, "document": "x"},
    )
    served.client.upsert(current.remote.collection, points=[orphan])
    place.client.incr("tundish:index:default:epoch")
    write(index, "two", put("b", 2, "b"))
    index.build("default")
    assert place.contents() == {"a": ["first"], "b": ["b"]}
    assert place.index().cleanup("default", 7 * DAY)["points"] == 1
    assert place.contents() == {"a": ["first"], "b": ["b"]}


def test_batches_that_are_not_needed(place: Place) -> None:
    index = place.index()
    write(index, "one", put("a", 1, "first"))
    write(index, "two", put("a", 2, "second"), put("b", 3, "b"))
    index.build("default")
    later(place, 8)
    assert place.index().cleanup("default", 7 * DAY)["batches"] == 1
    place.index().rebuild("default", "for a test")
    assert place.contents() == {"a": ["second"], "b": ["b"]}
