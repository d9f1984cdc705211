"""Vectors of a large segment that are sent to the store while the batches that follow are still read."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.config.settings import StoreSettings
from runtime.context import Store
from runtime.errors import StoreDown
from runtime.index import early, integrity, layout, manifest, plan
from runtime.index.body import Body
from runtime.index.early import Early
from runtime.index.local import damaged
from runtime.index.manifest import Manifest
from runtime.index.port import FaissIndex
from runtime.index.segment import INDEX, META
from runtime.keys import index_build
from runtime.testing import MemoryStore
from tests.crashing import LATER, Place, Scene
from tests.indexing import DIMENSIONS, House, fresh_store, gone, house, put, write

ROWS = 40


def newest(home: House) -> Manifest:
    found = manifest.newest(home.store, "default")
    assert found is not None
    return found


def folders(home: House) -> set[str]:
    return {key.split("/")[3] for key in keys(home) if "/segments/" in key}


def keys(home: House) -> set[str]:
    return {item.key for item in home.store.list(home.store.bucket, layout.root("default"))}


@pytest.fixture
def all_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early, "LEAST_BYTES", 1)


@pytest.fixture
def home(store_settings: StoreSettings, redis_client: redis.Redis, tmp_path: Path, all_early: None) -> Iterator[House]:
    before = threading.active_count()
    yield house(fresh_store(store_settings), redis_client, tmp_path, later=LATER)
    assert threading.active_count() <= before + 1, "nobody waits for bytes that never come"


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=8))
def test_a_file_that_grows_arrives_as_it_is_in_the_end(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int]
) -> None:
    store, rows = MemoryStore(), np.random.default_rng(1).random((sum(steps), 8), np.float32)
    with Body(tmp_path_factory.mktemp("early")) as body:
        sent = Early(store, "default", body.vectors, 8, len(rows))
        for end, size in zip(np.cumsum(steps).tolist(), steps, strict=True):
            body.append(rows[end - size : end], b"", np.zeros(size, np.uint32))
            sent.written(body.flushed())
        body.close(8)
    whole = body.vectors.read_bytes()
    assert sent.size == len(whole) and sent.finished()
    assert store.get(store.bucket, layout.segment("default", sent.folder) + INDEX).data == whole


@pytest.mark.parametrize("all_there", [True, False])
def test_nothing_is_left_of_what_was_a_wrong_guess(
    store_settings: StoreSettings, tmp_path: Path, all_there: bool
) -> None:
    store, rows = fresh_store(store_settings), 2**18  # more than one part of an upload
    with Body(tmp_path / "body") as body:
        sent = Early(store, "default", body.vectors, DIMENSIONS, rows)
        body.append(np.zeros((rows, DIMENSIONS), np.float32), b"", np.zeros(rows, np.uint32))
        if all_there:
            sent.written(body.flushed())
        body.close(DIMENSIONS)
        sent.give_up()
    assert list(store.list(store.bucket)) == []
    assert store.abort_uploads(store.bucket, -60.0) == 0


def test_a_store_that_fails_costs_a_second_upload(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Failing(MemoryStore):
        def put_stream(self, *words: object, **named: object) -> str:
            raise StoreDown("The store is full.")

    with Body(tmp_path / "body") as body:
        sent = Early(Failing(), "default", body.vectors, 8, 1)
        body.append(np.zeros((1, 8), np.float32), b"", np.zeros(1, np.uint32))
        body.close(8)
    assert not sent.finished()
    assert "uploaded once more: The store is full." in caplog.text


def test_such_a_segment_is_like_any_other(home: House, tmp_path: Path) -> None:
    """It is read, by those who built it and by others, checked, merged, gone back to, and cleaned away."""
    write(home.index, "b1", *(put(f"k{number}", number) for number in range(ROWS)))
    write(home.index, "b2", put("other", ROWS), gone("nobody", ROWS + 1))
    first = home.index.build("default")
    (ref,) = newest(home).segments
    assert (first.vectors, first.documents) == (ROWS + 1, ROWS + 1)
    assert layout.folder(ref.segment) != layout.digest(ref.segment)
    assert keys(home) >= {layout.segment("default", ref.segment) + name for name in (INDEX, META)}
    home.reader.refresh("default")
    assert home.contents() == {f"k{number}": [f"k{number} at {number}"] for number in range(ROWS)} | {
        "other": [f"other at {ROWS}"]
    }
    assert list(integrity.survey(home.store, "default")) == []
    assert list(damaged(home.cache, "default")) == list(damaged(tmp_path / "builder", "default")) == []

    write(home.index, "b3", put("k1", ROWS + 2, "new"))
    home.index.build("default", ["b3"])
    home.reader.refresh("default")
    assert home.found("new") == "k1"
    home.index.rollback("default", first.generation)
    home.reader.refresh("default")
    assert home.found("k1 at 1") == "k1"
    home.index.release("default")
    home.index.build("default")
    home.index.cleanup("default", 0.0)
    home.reader.refresh("default")
    assert home.found("new") == "k1"
    named = {ref.segment for ref in newest(home).segments}
    assert folders(home) == set(map(layout.folder, named))


def test_it_is_merged(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "MANY_SEGMENTS", 1)
    for number in range(3):
        write(home.index, f"b{number}", put(f"k{number}", number))
        home.index.build("default")
    assert home.index.compact("default").published
    home.reader.refresh("default")
    assert set(home.contents()) == {"k0", "k1", "k2"}
    home.index.cleanup("default", 0.0)
    assert len(folders(home)) == 1


def test_a_document_that_is_beaten_in_the_same_build_is_not_sent(home: House) -> None:
    write(home.index, "b1", put("a", 1, "old"), put("b", 2))
    write(home.index, "b2", put("a", 3, "new"))
    home.index.build("default")
    (ref,) = newest(home).segments
    assert layout.folder(ref.segment) == ref.segment
    assert folders(home) == {ref.segment}
    home.reader.refresh("default")
    assert home.contents() == {"a": ["new"], "b": ["b at 2"]}


def test_a_batch_that_cannot_be_read(home: House) -> None:
    write(home.index, "b1", put("a", 1))
    path = write(home.index, "b2", put("b", 2))
    home.store.put(home.store.bucket, path + layout.VECTORS, b"rubbish" * 100)
    report = home.index.build("default")
    assert report.vectors == 1 and "b2" in report.warnings[0]
    (ref,) = newest(home).segments
    assert folders(home) == {layout.folder(ref.segment)}
    home.reader.refresh("default")
    assert home.contents() == {"a": ["a at 1"]}


def test_builders_that_meet(home: House, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was sent ahead belongs to the segment that it was read for; another one is uploaded whole."""
    write(home.index, "b0", put("a", 0, "older"))
    home.index.build("default")
    write(home.index, "b1", put("a", 1, "old"), put("b", 2))
    commit = manifest.commit
    other = FaissIndex(home.store, redis_client, home.cache.parent / "other")
    other._builder._listings.due["default"] = math.inf  # it builds what it is told of

    def late(store: Store, made: Manifest) -> Manifest:
        monkeypatch.setattr(manifest, "commit", commit)
        redis_client.delete(index_build("default"))
        write(other, "b2", put("a", 3, "new"))
        assert other.build("default", ["b2"]).published
        return commit(store, made)

    monkeypatch.setattr(manifest, "commit", late)
    assert home.index.build("default").published
    home.reader.refresh("default")
    assert home.contents() == {"a": ["new"], "b": ["b at 2"]}
    home.index.cleanup("default", 0.0)
    assert folders(home) == {layout.folder(ref.segment) for ref in newest(home).segments}


def build_early(index: FaissIndex, name: str) -> None:
    early.LEAST_BYTES = 1  # in the process that will be killed
    index.build(name)


def test_killed_at_every_step(
    store_settings: StoreSettings, broker_url: str, redis_client: redis.Redis, tmp_path: Path
) -> None:
    store = fresh_store(store_settings)
    own = store_settings.model_copy(update={"bucket": store.bucket})
    scene = Scene(
        house(store, redis_client, tmp_path, later=LATER), Place(own, broker_url, tmp_path / "builder"), redis_client
    )
    for at in count(1, 3):
        scene.name, scene.expected = f"i{at}", {}
        scene.commit(("a", f"a {at}"), ("b", f"b {at}"))
        scene.commit(("c", f"c {at}"))
        through = scene.kill(at, build_early, scene.name)
        assert scene.seen() in ({}, scene.expected)
        scene.build()
        scene.home.index.cleanup(scene.name, 0)
        assert scene.orphans() == set()
        assert scene.served() == scene.expected
        if through:
            break
    assert at > 10
