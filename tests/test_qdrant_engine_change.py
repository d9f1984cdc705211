"""The engine of an index changes while it is built, or is asked to change to the one that it has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import redis

from runtime.errors import Retry
from runtime.harness.store import MemoryStore
from runtime.index import manifest
from runtime.index.lease import BuildLease
from runtime.index.qdrant import connection
from tests.engines import Place, engine_of, move
from tests.indexing import put, write
from tests.qdrant_server import Served, serve

EXPECTED = {"a": ["a"], "b": ["b"]}


@pytest.fixture
def served() -> Iterator[Served]:
    with serve() as running:
        yield running


@pytest.fixture
def place(served: Served, redis_client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """An index of two documents in FAISS, and an address of Qdrant."""
    monkeypatch.setattr(connection, "FIRST_PAUSE", 0.001)
    made = Place("faiss", MemoryStore(), redis_client, tmp_path, served)
    index = made.index()
    write(index, "one", put("a", 1, "a"))
    write(index, "two", put("b", 2, "b"))
    index.build("default")
    return made


@pytest.mark.parametrize("engine", ["qdrant", "faiss"])
def test_a_build_waits_while_the_engine_changes(place: Place, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It looked which engine it is for before it had the lease. What it publishes then must not be all there is."""
    if engine == "faiss":
        move(place, "qdrant")
    index = place.index()
    write(index, "three", put("c", 3, "c"))
    enter = BuildLease.__enter__

    def waited(lease: BuildLease) -> BuildLease:
        monkeypatch.setattr(BuildLease, "__enter__", enter)
        move(place, engine, "r2")
        return enter(lease)

    monkeypatch.setattr(BuildLease, "__enter__", waited)
    with suppress(Retry):
        index.build("default", ["three"])
    expected = {**EXPECTED, "c": ["c"]}
    assert engine_of(place) == engine and place.contents() == expected
    write(place.index(), "four", put("d", 4, "d"))
    place.index().build("default", ["three", "four"])
    assert engine_of(place) == engine and place.contents() == {**expected, "d": ["d"]}


@pytest.mark.parametrize("engine", ["qdrant", "faiss"])
def test_it_is_there_already(place: Place, served: Served, engine: str) -> None:
    """Asked once more, nothing is built: a large index has no room in the files of one machine."""
    if engine == "qdrant":
        move(place, "qdrant")
    before = manifest.newest(place.store, "default")
    served.seen.clear()
    told = move(place, engine, "again")
    after = manifest.newest(place.store, "default")
    assert before and after and told.state == "done" and after.generation == before.generation
    assert told.generation == after.generation and served.seen == []
    assert place.contents() == EXPECTED
