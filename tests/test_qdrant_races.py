"""Builders, cleanups and migrations of one index in Qdrant that meet."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
import redis

from functions.cleanup import cleanup
from runtime.errors import Retry
from runtime.harness import store as testing_store
from runtime.harness.store import MemoryStore
from runtime.index import manifest
from runtime.index.lease import BuildLease
from runtime.index.qdrant import connection, ledger, moving
from runtime.index.qdrant.collection import Collection
from runtime.testing import fake_context
from tests.engines import Place, engine_of, move
from tests.indexing import put, write
from tests.qdrant_server import Cut, Served, Status, serve

HOUR = 3600.0


@pytest.fixture
def served() -> Iterator[Served]:
    with serve() as running:
        yield running


@pytest.fixture
def place(served: Served, redis_client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(connection, "FIRST_PAUSE", 0.001)
    return Place("qdrant", MemoryStore(), redis_client, tmp_path, served)


def test_what_another_attempt_has_ended_does_not_come_back(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A builder sleeps and loses its lease; another one ends a chunk in an epoch of its own, and dies. The first must
    not publish then: in its epoch that chunk would live."""
    index = place.index()
    write(index, "one", put("a", 1, "old"))
    index.build("default")
    write(index, "two", put("a", 2, "new"))
    change, late, leases = Collection.change, list[bool](), list[BuildLease]()
    enter = BuildLease.__enter__

    def entered(self: BuildLease) -> BuildLease:
        leases.append(self)
        return enter(self)

    def changed(self: Collection, operations: list[object]) -> None:
        if not late:
            late.append(True)
            place.client.delete("tundish:index:default:build")
            with pytest.raises(KeyboardInterrupt):
                place.index().build("default")
            leases[0].renew()  # as its thread does: it is not held
        change(self, operations)
        if len(late) == 1:  # the other one: its change is done, and it dies
            late.append(True)
            raise KeyboardInterrupt

    monkeypatch.setattr(Collection, "change", changed)
    monkeypatch.setattr(BuildLease, "__enter__", entered)
    with suppress(Retry):
        index.build("default")
    place.index().build("default")
    assert len(late) == 2 and place.contents() == {"a": ["new"]}
    assert place.contents(1) == {"a": ["old"]}


def test_a_build_that_takes_hours_keeps_its_collection(
    place: Place, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [time.time()]
    monkeypatch.setattr(testing_store, "time", SimpleNamespace(time=lambda: now[0]))
    monkeypatch.setattr(ledger, "NOTE_SECONDS", 0.0)
    index = place.index()
    for number in range(8):
        write(index, f"b{number}", put(f"k{number}", number + 1))
    index.build("default")
    other = place.index()
    other._clock = lambda: now[0]
    cleaning = list[bool]()

    def hook(method: str, path: str) -> None:
        if method == "PUT" and path.endswith("/points") and not cleaning:
            cleaning.append(True)
            now[0] += HOUR / 4
            other.remote.cleanup("default", other._clock)
            cleaning.clear()

    served.trouble.hook = hook
    report = index.rebuild("default", "for a test")
    assert report.published and report.documents == 8
    assert len(place.contents()) == 8


def test_a_migration_arrives_while_cleanup_looks(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cleanup has read which versions there are; what is a version's since then is not taken for left behind."""
    place.engine = "faiss"
    index = place.index()
    write(index, "one", put("a", 1, "first"))
    index.build("default")
    listed = manifest.listed
    with monkeypatch.context() as patch:
        patch.setattr(manifest, "commit", _die)
        with pytest.raises(KeyboardInterrupt):
            move(place, "qdrant")
    cleaner = place.index()
    cleaner._clock = lambda: time.time() + 2 * HOUR
    looks = itertools.count()

    def looked(store: MemoryStore, index: str, after: int = 0) -> Iterator[object]:
        found = list(listed(store, index, after))
        if next(looks) == 0:
            monkeypatch.setattr(manifest, "listed", listed)
            with monkeypatch.context() as patch:
                patch.setattr("runtime.index.qdrant.move_in.switch", lambda *_: None)  # not yet
                move(place, "qdrant", "r2")
        return iter(found)

    monkeypatch.setattr(manifest, "listed", looked)
    cleaner.remote.cleanup("default", cleaner._clock)
    assert engine_of(place) == "qdrant" and moving.read(place.store, "default") is None
    assert place.contents() == {"a": ["first"]}


@pytest.mark.parametrize("status", [403, 400, "gone"])
def test_one_index_does_not_keep_the_others_from_cleanup(place: Place, served: Served, status: int | str) -> None:
    index = place.index()
    write(index, "one", put("a", 1, "first"))
    index.build("default")
    write(index, "other", put("z", 1), name="zebra")
    if isinstance(status, int):
        served.trouble.hook = _raise(Status(status))
    else:
        for one in served.client.get_collections().collections:
            served.client.delete_collection(one.name)
    result = cleanup(context=fake_context(index=place.index(), store=place.store))
    assert set(result.indexes) == {"zebra"}


def test_back_in_files_and_qdrant_is_away(place: Place, served: Served) -> None:
    """What the index left behind in Qdrant is nobody's hurry; what it has in the store is cleaned up."""
    place.engine = "faiss"
    index = place.index()
    write(index, "one", put("a", 1, "first"))
    index.build("default")
    move(place, "qdrant")
    move(place, "faiss", "r2")
    served.trouble.hook = _raise(Cut())
    assert "manifests" in place.index().cleanup("default", 0)
    place.url = ""
    assert "manifests" in place.index().cleanup("default", 0)


def _die(*_: object) -> None:
    raise KeyboardInterrupt


def _raise(error: Exception):  # type: ignore[no-untyped-def]
    def hook(method: str, path: str) -> None:
        raise error

    return hook
