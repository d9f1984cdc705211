"""A migration that ended half way goes on, or begins anew, after whatever happened to its index meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from runtime.errors import IndexUnavailable
from runtime.harness.store import MemoryStore
from runtime.index import layout, manifest
from runtime.index.qdrant import connection, filling, moving
from tests.engines import Place, engine_of, move
from tests.indexing import put, write
from tests.qdrant_server import Served, serve

DAY = 86_400.0


@pytest.fixture
def served() -> Iterator[Served]:
    with serve() as running:
        yield running


@pytest.fixture
def place(served: Served, redis_client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(connection, "FIRST_PAUSE", 0.001)
    made = Place("faiss", MemoryStore(), redis_client, tmp_path, served)
    index = made.index()
    write(index, "one", put("a", 1, "a1", "a1 too"))
    write(index, "two", put("b", 2, "b"))
    index.build("default")
    return made


def test_killed_in_a_batch_and_its_document_is_newer_then(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks without their document's point are nobody's: what they are too many is no reason to be stuck for ever."""
    with monkeypatch.context() as patch:
        patch.setattr(filling.Filling, "_first", _die)
        with pytest.raises(KeyboardInterrupt):
            move(place, "qdrant")
    write(place.index(), "three", put("a", 3, "a3"), put("b", 4, "b4"))
    place.index().build("default")
    try:
        move(place, "qdrant", "r2")
    except IndexUnavailable:
        assert engine_of(place) == "faiss"
        move(place, "qdrant", "r3")
    assert engine_of(place) == "qdrant" and place.contents() == {"a": ["a3"], "b": ["b4"]}


def test_another_model_meanwhile(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was sent in the vectors of the old model is not taken for the new one's, of the same batches."""
    with monkeypatch.context() as patch:
        patch.setattr(manifest, "commit", _die)
        with pytest.raises(KeyboardInterrupt):
            move(place, "qdrant")
    old = manifest.newest(place.store, "default")
    assert old
    space = layout.space("default", "other", old.model)
    for name in ("one", "two"):
        for item in list(place.store.list(place.store.bucket, layout.batch("default", name))):
            place.store.delete(place.store.bucket, item.key)
    index = place.index()
    write(index, "one", put("a", 1, "a1", "a1 too"), name=space, model="other", dimensions=8)
    write(index, "two", put("b", 2, "b"), name=space, model="other", dimensions=8)
    bare = replace(old, model="other", native=old.model, dimensions=8, segments=(), builder="x", digest="", etag="")
    manifest.commit(place.store, manifest.successor(old, bare))
    place.index().build("default")
    assert move(place, "qdrant", "r2").state == "done"
    current = manifest.newest(place.store, "default")
    assert current and (current.engine, current.model, current.dimensions) == ("qdrant", "other", 8)
    assert (current.vectors, current.documents) == (3, 2)


def test_a_batch_of_another_model_stays_where_it_is(place: Place) -> None:
    write(place.index(), "strange", put("z", 9, "z"), model="another", dimensions=8)
    write(place.index(), "alike", put("y", 8, "y"), model="another")
    told = move(place, "qdrant")
    assert told.state == "done" and engine_of(place) == "qdrant"
    assert place.contents() == {"a": ["a1", "a1 too"], "b": ["b"]}


def test_a_damaged_batch_is_said(place: Place) -> None:
    """Back to files: a batch that cannot be read is told, and not tried for ever."""
    write(place.index(), "three", put("c", 3, "c"))
    place.index().build("default")
    move(place, "qdrant")
    key = layout.batch("default", "three") + layout.VECTORS
    place.store.put(place.store.bucket, key, b"no vectors")
    with pytest.raises(IndexUnavailable, match="faiss holds 3 chunks of 2 documents"):
        move(place, "faiss", "r2")
    assert engine_of(place) == "qdrant" and set(place.contents()) == {"a", "b", "c"}


def test_a_damaged_batch_that_nobody_needs(place: Place) -> None:
    move(place, "qdrant")
    write(place.index(), "three", put("b", 3, "b3"))
    place.index().build("default")
    place.store.put(place.store.bucket, layout.batch("default", "two") + layout.VECTORS, b"no vectors")
    told = move(place, "faiss", "r2")
    assert told.state == "done" and engine_of(place) == "faiss" and len(told.damaged) == 1
    assert place.contents() == {"a": ["a1", "a1 too"], "b": ["b3"]}
    assert not place.index().build("default").published


def test_killed_after_the_switch_then_back_and_there_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A collection that became a version's is not filled by a later migration: versions in it stay what they are."""
    with monkeypatch.context() as patch:
        patch.setattr(moving, "forget", _die)
        with pytest.raises(KeyboardInterrupt):
            move(place, "qdrant")
    assert engine_of(place) == "qdrant"
    for number, key in enumerate("cd", 3):
        write(place.index(), key, put(key, number))
        place.index().build("default")
    there = place.contents()
    assert move(place, "faiss", "r2").state == "done"
    write(place.index(), "e", put("e", 9))
    place.index().build("default")
    assert move(place, "qdrant", "r3").state == "done" and engine_of(place) == "qdrant"
    assert place.contents() == {**there, "e": ["e at 9"]}
    assert place.contents(4) == there


def test_a_migration_that_was_given_up(place: Place, served: Served) -> None:
    """Its collection takes as much memory as the index: it is kept for a week, then it goes; so does nothing else."""

    def begin() -> None:
        place.index().move(
            "default", "qdrant", recall=0.99, run="r", task="r", stop=lambda: True, report=lambda *_: None
        )

    begin()
    begun = moving.read(place.store, "default")
    place.later = 6 * DAY
    assert begun and place.index().remote.cleanup("default", place.index()._clock)["collections"] == 0
    begin()
    assert moving.read(place.store, "default") == begun, "it goes on"
    place.later = 8 * DAY
    assert place.index().remote.cleanup("default", place.index()._clock)["collections"] == 1
    assert served.client.get_collections().collections == []
    assert move(place, "qdrant", "r2").state == "done"
    assert place.contents() == {"a": ["a1", "a1 too"], "b": ["b"]}
    assert place.index().remote.cleanup("default", place.index()._clock)["collections"] == 0
    assert place.contents() == {"a": ["a1", "a1 too"], "b": ["b"]}


def _die(*_: object) -> None:
    raise KeyboardInterrupt
