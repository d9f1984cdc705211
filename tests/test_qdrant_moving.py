"""An index moves from FAISS to Qdrant and back: from its batches, resumable, compared, and the old engine answers."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from runtime.context import Store
from runtime.errors import BadInput, EngineDown, IndexUnavailable
from runtime.harness.store import MemoryStore
from runtime.index import batches, manifest
from runtime.index.migration_state import MigrationState
from runtime.index.qdrant import comparing, connection, ledger
from runtime.index.search import Search
from tests.engines import Place, engine_of, move
from tests.indexing import gone, put, vector, write
from tests.qdrant_server import Cut, Served, serve

EXPECTED = {"a": ["a9", "a9 too"], "b": ["b"], "c": ["c"]}


@pytest.fixture
def served() -> Iterator[Served]:
    with serve() as running:
        yield running


@pytest.fixture
def place(served: Served, redis_client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """An index in FAISS, with a few versions behind it, and an address of Qdrant."""
    monkeypatch.setattr(connection, "FIRST_PAUSE", 0.001)
    made = Place("faiss", MemoryStore(), redis_client, tmp_path, served)
    index = made.index()
    write(index, "one", put("a", 1, "a1"), put("b", 2, "b"))
    index.build("default")
    write(index, "two", put("a", 9, "a9", "a9 too"), put("d", 3, "d"))
    write(index, "three", gone("d", 4), put("c", 5, "c"))
    index.build("default")
    return made


def test_there_and_back(place: Place, served: Served) -> None:
    assert place.contents() == EXPECTED
    told = move(place, "qdrant")
    assert (told.state, told.done, told.total, told.generation) == ("done", 3, 3, 3)
    assert engine_of(place) == "qdrant" and place.contents() == EXPECTED
    (alias,) = served.client.get_aliases().aliases
    assert alias.alias_name == "tundish_default"
    index = place.index()
    write(index, "four", put("e", 10, "e"), gone("b", 11))
    assert index.build("default").published, "what functions.yaml says is for new indexes"
    after = {"a": EXPECTED["a"], "c": ["c"], "e": ["e"]}
    assert place.contents() == after
    assert move(place, "faiss", run="r2").state == "done"
    assert engine_of(place) == "faiss" and place.contents() == after
    write(place.index(), "five", put("f", 12, "f"))
    place.index().build("default")
    assert place.contents() == {**after, "f": ["f"]}


def test_a_rollback_goes_back_to_the_other_engine(place: Place) -> None:
    move(place, "qdrant")
    index = place.index()
    write(index, "four", put("e", 10, "e"))
    index.build("default")
    index.rollback("default", 2)
    assert engine_of(place) == "faiss" and place.contents() == EXPECTED
    index.rollback("default", 4)
    assert engine_of(place) == "qdrant" and place.contents() == {**EXPECTED, "e": ["e"]}
    index.release("default")
    write(index, "five", gone("a", 11))
    index.build("default")
    assert set(place.contents()) == {"b", "c", "e"}


def test_nothing_is_embedded_and_nobody_notices(place: Place, served: Served) -> None:
    """While it moves FAISS answers and takes documents; those are in Qdrant, too, when it answers."""
    late = iter([("late1", put("x", 20, "x")), ("late2", put("a", 21, "a21"))])

    def hook(method: str, path: str) -> None:
        if path.endswith("/points/count"):  # it is about to be compared
            for name, doc in itertools.islice(late, 1):
                write(place.index(), name, doc)
                place.index().build("default")
                assert engine_of(place) == "faiss" and doc.key in place.contents()

    served.trouble.hook = hook
    assert move(place, "qdrant").state == "done"
    assert place.contents() == {"a": ["a21"], "b": ["b"], "c": ["c"], "x": ["x"]}


@pytest.mark.parametrize("engine", ["qdrant", "faiss"])
def test_it_goes_on_where_it_was(place: Place, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that ends, or dies, after each batch: what was done is not done again."""
    monkeypatch.setattr("runtime.index.qdrant.move_out.STEP", 1)
    if engine == "faiss":
        move(place, "qdrant", run="before")
    seen = list[str]()
    read = batches.read

    def noted(store: Store, index: str, name: str) -> batches.Batch:
        seen.append(name)
        return read(store, index, name)

    monkeypatch.setattr(batches, "read", noted)
    old = engine_of(place)
    for number in itertools.count(1):
        asked = iter([False])
        told = move(place, engine, stop=lambda asked=asked: next(asked, True))  # type: ignore[misc]
        if told.state == "done":
            break
        assert (told.state, told.done, told.total) == ("running", number, 3)
        assert engine_of(place) == old and place.contents() == EXPECTED
    assert engine_of(place) == engine and place.contents() == EXPECTED
    assert sorted(seen) == ["one", "three", "two"]


def test_killed_before_the_switch(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(manifest, "commit", _die)
        with pytest.raises(KeyboardInterrupt):
            move(place, "qdrant")
    assert engine_of(place) == "faiss" and place.contents() == EXPECTED
    place.client.flushall()
    assert move(place, "qdrant", run="r2").state == "done"
    assert place.contents() == EXPECTED
    assert len(list(ledger.listed(place.store, "default"))) == 1, "it went on with the same collection"


def test_too_few_are_found(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(comparing, "recall", lambda *_: 0.95)
        with pytest.raises(IndexUnavailable, match=r"recall@10 in qdrant is 0\.9500"):
            move(place, "qdrant")
        state = MigrationState(place.client, "default").read()
        assert state and state.state == "failed" and "0.9500" in state.message
        assert engine_of(place) == "faiss"
        assert move(place, "qdrant", run="r2", recall=0.9).state == "done"


def test_recall_is_measured(place: Place) -> None:
    move(place, "qdrant")
    version, old = (manifest.read(place.store, "default", number) for number in (3, 2))
    index = place.index()
    from runtime.index.recall import opened

    connections = index.remote.connect
    assert comparing.recall(opened(index._cache, old), version, connections.fresh(), 20) == 1.0
    empty = replace(version, remote=replace(version.remote, epoch=0)) if version.remote else version
    assert comparing.recall(opened(index._cache, old), empty, connections.fresh(), 20) == 0.0


def test_counts_that_differ(place: Place, served: Served) -> None:
    done = list[bool]()

    def hook(method: str, path: str) -> None:
        if path.endswith("/points/count") and not done:
            done.append(True)
            (name,) = (one.name for one in served.client.get_collections().collections)
            records, _ = served.client.scroll(name, limit=100)
            gone = [one.id for one in records if one.payload and one.payload.get("kind") == "chunk"]
            served.client.delete(name, points_selector=gone)

    served.trouble.hook = hook
    with pytest.raises(IndexUnavailable, match="0 chunks of 0 documents"):
        move(place, "qdrant")
    assert engine_of(place) == "faiss"


def test_qdrant_goes_away_while_it_moves(place: Place, served: Served) -> None:
    counter = itertools.count()

    def hook(method: str, path: str) -> None:
        if next(counter) > 20:
            raise Cut

    served.trouble.hook = hook
    with pytest.raises(EngineDown):
        move(place, "qdrant")
    assert engine_of(place) == "faiss" and place.contents() == EXPECTED
    served.trouble.hook = lambda method, path: None
    assert move(place, "qdrant").state == "done"
    assert place.contents() == EXPECTED


@pytest.mark.parametrize("seed", range(4))
def test_duplicate_and_reordered_batches_move(
    served: Served, redis_client: redis.Redis, tmp_path: Path, seed: int
) -> None:
    """However often and in whatever order they were written, each engine has the newest versions, there and back."""
    random_ = random.Random(seed)
    docs = [put(key, seq, f"{key} at {seq}") for seq, key in enumerate("abcabcab", 1)] + [gone("b", 9), gone("d", 10)]
    names = [(f"{way}{doc.seq}", doc) for doc in docs for way in ("b", "again")]
    random_.shuffle(names)
    place = Place("faiss", MemoryStore(), redis_client, tmp_path, served)
    half = len(names) // 2
    for name, doc in names[:half]:
        write(place.index(), name, doc)
        if random_.random() < 0.3:
            place.index().build("default")
    place.index().build("default")
    assert move(place, "qdrant").state == "done"
    for name, doc in names[half:]:
        write(place.index(), name, doc)
        if random_.random() < 0.3:
            place.index().build("default", [name])
    place.index().build("default")
    expected = {"a": ["a at 7"], "c": ["c at 6"]}
    assert engine_of(place) == "qdrant" and place.contents() == expected
    assert move(place, "faiss", run="r2").state == "done"
    assert engine_of(place) == "faiss" and place.contents() == expected


def test_what_cannot_move(place: Place) -> None:
    with pytest.raises(BadInput, match="no engine milvus"):
        move(place, "milvus")
    place.index().rollback("default", 1)
    with pytest.raises(BadInput, match="held by a rollback"):
        move(place, "qdrant")
    empty = Place("faiss", MemoryStore(), place.client, place.folder, place.served)
    with pytest.raises(BadInput, match="no vectors yet"):
        move(empty, "qdrant")


def test_already_there(place: Place) -> None:
    move(place, "qdrant")
    move(place, "qdrant", run="again")
    assert engine_of(place) == "qdrant" and place.contents() == EXPECTED
    assert place.search(Search(vector("c"), 1)).hits[0].key == "c"


def _die(*_: object) -> None:
    raise KeyboardInterrupt
