"""An index whose segments have their vectors in batches, with a real store: built, read on other hosts, merged, gone
back to, mended, cleaned, and killed at every step."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis

from runtime.config.settings import StoreSettings
from runtime.context import Store
from runtime.errors import CorruptSegment, ObjectMissing
from runtime.index import batches, integrity, layout, manifest, pieces, plan, whole
from runtime.index.cache import SegmentCache
from runtime.index.local import damaged
from runtime.index.manifest import Manifest
from runtime.index.pieces import OWN, PIECES
from runtime.index.port import FaissIndex
from runtime.index.reader import IndexReader
from runtime.index.segment import INDEX, decode_meta, encode_meta
from runtime.keys import index_build
from tests.crashing import LATER, Place, Scene
from tests.indexing import DIMENSIONS, House, fresh_store, gone, house, put, rows_of, vector, write
from tests.migrating import pair
from tests.test_index_repair import flip, world
from tests.verifying import World

__all__ = ["world"]
ROWS = 4


def all_refer() -> None:
    """However small: batches of two rows and more are referred to, those of one row are not."""
    pieces.LEAST_BYTES = 2 * DIMENSIONS * 4
    pieces.LEAST_SEGMENT = 1


@pytest.fixture(autouse=True)
def refer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "LEAST_BYTES", 0)
    monkeypatch.setattr(pieces, "LEAST_SEGMENT", 0)
    all_refer()


@pytest.fixture
def home(store_settings: StoreSettings, redis_client: redis.Redis, tmp_path: Path) -> House:
    return house(fresh_store(store_settings), redis_client, tmp_path, later=LATER)


def newest(home: House) -> Manifest:
    found = manifest.newest(home.store, "default")
    assert found is not None
    return found


def files(home: House, kind: str = "/segments/") -> set[str]:
    return {item.key.rpartition("/")[2] for item in home.store.list(home.store.bucket) if kind in item.key}


def elsewhere(home: House, number: Iterator[int] = count()) -> dict[str, list[str]]:  # noqa: B008 - one for all
    """What a gateway that starts now on another host answers from."""
    cache = home.cache.parent / f"elsewhere-{next(number)}"
    return House(home.store, home.index, opened(home.store, cache), cache).contents()


def opened(store: Store, cache: Path) -> IndexReader:
    reader = IndexReader(store, cache)
    reader.refresh("default")
    return reader


def two(home: House, number: int, text: str = "") -> str:
    """A batch of two documents, `a{number}` and `b{number}`."""
    first, second = put(f"a{number}", 2 * number), put(f"b{number}", 2 * number + 1)
    return write(home.index, f"two{number}", first, second)


def test_vectors_are_stored_once(home: House, tmp_path: Path) -> None:
    two(home, 1)
    two(home, 2)
    write(home.index, "one", put("c", 9))
    home.index.build("default")
    assert INDEX not in files(home) and {PIECES, OWN, "rows.bin"} <= files(home)
    expected = {name: [f"{name} at {seq}"] for seq, name in enumerate(("a1", "b1", "a2", "b2"), 2)} | {"c": ["c at 9"]}
    assert elsewhere(home) == expected
    # Readers on the builder's host, and the next build, get them from nobody.
    mine = tmp_path / "builder"
    for item in home.store.list(home.store.bucket, layout.batches("default")):
        if item.key.endswith(layout.VECTORS):
            home.store.delete(home.store.bucket, item.key)
    reader = opened(home.store, mine)
    assert House(home.store, home.index, reader, mine).contents() == expected
    assert list(damaged(mine, "default")) == []
    with pytest.raises(CorruptSegment, match=r"two1/vectors.npy|two2/vectors.npy"):
        SegmentCache(tmp_path / "none", home.store).open("default", newest(home).segments[0].segment)


def test_local_damage_is_found_and_fetched_again(home: House, tmp_path: Path) -> None:
    two(home, 1)
    home.index.build("default")
    (path,) = (tmp_path / "builder").rglob(INDEX)
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert list(damaged(tmp_path / "builder", "default")) == [path]
    cache = SegmentCache(tmp_path / "builder", home.store)
    (ref,) = newest(home).segments
    assert cache.check("default", ref.segment) == [INDEX]
    cache.open("default", ref.segment)
    assert path.read_bytes() == data


def test_what_was_beaten_is_not_in_the_segment(home: House) -> None:
    """Neither in the same build, nor after a merge of segments of both kinds."""
    write(home.index, "b1", put("a", 1, "old"), put("b", 2), put("c", 3), put("d", 4, "d0", "d1"))
    write(home.index, "b2", put("a", 5, "new"), put("e", 6))
    home.index.build("default")
    (ref,) = newest(home).segments
    assert ref.vectors == ref.live == 6 and INDEX not in files(home)
    expected = {"a": ["new"], "b": ["b at 2"], "c": ["c at 3"], "d": ["d0", "d1"], "e": ["e at 6"]}
    assert elsewhere(home) == expected
    write(home.index, "b3", gone("b", 7), put("f", 8))
    home.index.build("default", ["b3"])
    assert any(name.endswith(layout.PACK) for name in files(home)), "one row is written as ever"
    expected |= {"f": ["f at 8"]}
    del expected["b"]
    assert elsewhere(home) == expected


def test_merged_segments_copy_nothing_that_a_batch_has(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "MANY_SEGMENTS", 1)
    for number in range(4):
        two(home, number)
        home.index.build("default")
    write(home.index, "one", put("a0", 99, "newer"), gone("b1", 98))
    home.index.build("default")
    expected = elsewhere(home)
    assert home.index.compact("default").published
    (ref,) = newest(home).segments
    cache = SegmentCache(home.cache.parent / "look", home.store)
    _, listed = pieces.load(cache.folder("default", ref.segment, (PIECES,)))
    # Of the first two batches one row each is left: too little to be referred to.
    assert [(piece.batch, piece.rows) for piece in listed if piece.batch] == [("two2", 2), ("two3", 2)]
    assert sum(piece.rows for piece in listed if not piece.batch) == 3
    assert elsewhere(home) == expected and expected["a0"] == ["newer"] and "b1" not in expected
    home.index.cleanup("default", 0.0)
    assert INDEX not in files(home) and elsewhere(home) == expected
    assert list(integrity.survey(home.store, "default")) == []


def test_a_batch_stays_for_as_long_as_a_version_needs_its_vectors(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    two(home, 1)
    two(home, 2)
    first = home.index.build("default")
    write(home.index, "newer", put("a1", 10, "a1 new"), put("b1", 11, "b1 new"))
    home.index.build("default")
    expected = {"a1": ["a1 new"], "b1": ["b1 new"], "a2": ["a2 at 4"], "b2": ["b2 at 5"]}
    # Nobody finds a document of the batch, but its segment is of it.
    assert home.index.cleanup("default", 0.0)["batches"] == 0
    assert elsewhere(home) == expected
    # With the version before in reach, a rollback is whole, too, wherever it is read.
    monkeypatch.setattr(plan, "MANY_SEGMENTS", 1)
    home.index.compact("default")
    assert home.index.cleanup("default", 100 * LATER)["batches"] == 0
    home.index.rollback("default", newest(home).generation - 1)
    assert elsewhere(home) == expected
    home.index.release("default")
    # When the last version that needs it is gone, it goes.
    home.index.build("default")
    home.index.compact("default")
    home.index.cleanup("default", 0.0)
    assert "two1" not in batches.listing(home.store, "default")
    assert elsewhere(home) == expected
    assert first.generation not in {number for number, _ in manifest.listed(home.store, "default")}


def test_where_nobody_knows_what_is_needed_no_batch_goes(home: House, caplog: pytest.LogCaptureFixture) -> None:
    two(home, 1)
    home.index.build("default")
    (ref,) = newest(home).segments
    write(home.index, "newer", put("a1", 10, "a1 new"), put("b1", 11, "b1 new"))
    home.index.build("default")
    key = layout.segment("default", ref.segment) + PIECES
    data = home.store.get(home.store.bucket, key).data
    home.store.delete(home.store.bucket, key)
    other = FaissIndex(home.store, home.index._client, home.cache.parent / "other", clock=home.index._clock)
    assert other.cleanup("default", 0.0)["batches"] == 0
    assert "no batches are removed" in caplog.text
    home.store.put(home.store.bucket, key, data)
    assert set(elsewhere(home)) == {"a1", "b1"}


def test_a_cleanup_in_the_middle_of_a_build(
    home: House, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease has run out, so the cleanup need not wait for it: it removes no batch that the build refers to."""
    two(home, 1)
    home.index.build("default")
    two(home, 2)
    write(home.index, "newer", put("a1", 10, "a1 new"), put("b1", 11, "b1 new"))
    commit = manifest.commit
    other = FaissIndex(home.store, redis_client, home.cache.parent / "other", clock=home.index._clock)

    def late(store: Store, made: Manifest) -> Manifest:
        monkeypatch.setattr(manifest, "commit", commit)
        redis_client.delete(index_build("default"))
        # Uploads that no manifest names yet have an hour's grace; with this clock they have none.
        other._clock = time.time
        other.cleanup("default", 0.0)
        return commit(store, made)

    monkeypatch.setattr(manifest, "commit", late)
    assert home.index.build("default").published
    assert elsewhere(home) == {"a1": ["a1 new"], "b1": ["b1 new"], "a2": ["a2 at 4"], "b2": ["b2 at 5"]}


def test_a_damaged_commit_that_is_written_again_leaves_the_vectors(home: House) -> None:
    """Another machine's differ by rounding; segments are of those that are there."""
    path = two(home, 1)
    home.index.build("default")
    expected, docs = elsewhere(home), [put("a1", 2), put("b1", 3)]
    before = home.store.get(home.store.bucket, path + layout.VECTORS)
    home.store.put(home.store.bucket, path + layout.ROWS, b"damage")
    rounded = np.array([vector(doc.contents[0]) for doc in docs], np.float32) * np.float32(1 + 1e-6)
    home.index.write_batch("default", "two1", rows_of(docs), rounded, "model")
    assert home.store.get(home.store.bucket, path + layout.VECTORS).data == before.data
    home.index.build("default")
    assert elsewhere(home) == expected
    home.store.put(home.store.bucket, path + layout.VECTORS, before.data[:-1] + b"x")
    home.index.write_batch("default", "two1", rows_of(docs), rounded, "model")
    assert home.index.read_batch("default", "two1") is not None


def test_a_migration_refers_to_the_new_models_batches(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "LEAST_BYTES", 1)
    two(home, 1)
    two(home, 2)
    home.index.build("default")
    home.index.migrate("default", pair()[1], run="run", task="run", stop=lambda: False, report=lambda *_: None)
    current = newest(home)
    assert current.dimensions == 8 and "~" in current.space
    cache = SegmentCache(home.cache.parent / "look", home.store)
    assert {cache.meta("default", ref.segment).refers for ref in current.segments} == {current.space}
    home.index.cleanup("default", 100 * LATER)
    reader = opened(home.store, home.cache.parent / "new model")
    assert len(reader.search("default", vector("any", 8), 10).hits) == 4
    home.index.rollback("default", 1)
    assert len(elsewhere(home)) == 4


def test_releases_refuse_what_they_cannot_read(home: House) -> None:
    two(home, 1)
    home.index.build("default")
    (ref,) = newest(home).segments
    meta = SegmentCache(home.cache, home.store).meta("default", ref.segment)
    data = encode_meta(meta)
    assert b'"format": 2' in data, "which earlier releases refuse, as they know 1 only"
    later = data.replace(b'"format": 2', b'"format": 4')
    with pytest.raises(CorruptSegment, match="has format 4; this release reads 1, 2 and 3"):
        decode_meta(sha256(later).hexdigest(), later)
    assert b'"format": 3' in encode_meta(replace(meta, whole=True)), "which those refuse that know 1 and 2 only"


@pytest.mark.parametrize("how", ["flipped", "gone"])
def test_a_damaged_batch_is_put_back_from_this_hosts_copy(world: World, tmp_path: Path, how: str) -> None:
    batch = world.settled("c", "d")
    world.index.build("default")
    key = layout.batch("default", batch) + layout.VECTORS
    before = world.store.get(world.store.bucket, key).data
    opened(world.store, tmp_path / "index-cache")
    if how == "gone":
        world.store.delete(world.store.bucket, key)
    else:
        flip(world, key)
    assert key in world.verify()[1]
    code, output = world.verify("--repair")
    assert code == 0 and "put back from the copy on this host" in output
    assert world.found() == {}
    assert world.store.get(world.store.bucket, key).data == before


def test_a_batch_that_nobody_can_put_back(world: World, tmp_path: Path) -> None:
    """What is whole is served: the index is built anew without it, and its documents are handed out again."""
    batch = world.settled("c", "d")
    world.index.build("default")
    reader = opened(world.store, tmp_path / "reader")
    before = len(reader.search("default", vector("any"), 100).hits)
    world.store.delete(world.store.bucket, layout.batch("default", batch) + layout.VECTORS)
    shutil.rmtree(tmp_path / "index-cache", ignore_errors=True)
    fresh = IndexReader(world.store, tmp_path / "fresh")
    with pytest.raises(CorruptSegment, match=batch):
        fresh.refresh("default")
    assert 0 < len(fresh.search("default", vector("any"), 100).hits) < before, "the version before is whole"
    code, output = world.verify("--repair")
    assert code == 1 and "is built anew from the batches" in output
    assert f"2 documents of {world.bucket} are handed out again" in output
    with pytest.raises(ObjectMissing):
        world.store.head(world.store.bucket, layout.batch("default", batch) + layout.VECTORS)


def build(index: FaissIndex, name: str) -> None:
    all_refer()
    index.build(name)


def build_of_whole_batches(index: FaissIndex, name: str) -> None:
    """Published before its vectors are read."""
    whole.LEAST_BYTES = 1
    build(index, name)


def compact(index: FaissIndex, name: str) -> None:
    all_refer()
    plan.MANY_SEGMENTS = 1
    index.compact(name)


def cleanup(index: FaissIndex, name: str) -> None:
    index.cleanup(name, 0)


Action = Callable[[FaissIndex, str], Any]


@pytest.mark.parametrize("action", [build, build_of_whole_batches, compact, cleanup])
def test_killed_at_every_step(
    store_settings: StoreSettings,
    broker_url: str,
    redis_client: redis.Redis,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    action: Action,
) -> None:
    monkeypatch.setattr(plan, "MANY_SEGMENTS", 1)
    store = fresh_store(store_settings)
    own = store_settings.model_copy(update={"bucket": store.bucket})
    scene = Scene(
        house(store, redis_client, tmp_path, later=LATER), Place(own, broker_url, tmp_path / "builder"), redis_client
    )
    scene.commit(*((f"k{number}", f"k {number}") for number in range(ROWS)))
    scene.build()
    for at in count(1):
        before = dict(scene.expected)
        scene.commit(("a", f"a {at}"), ("b", f"b {at}"))
        scene.commit((f"k{at % ROWS}", f"k {at} new"), (f"c{at}", "c"))
        if action not in (build, build_of_whole_batches):
            scene.build()
            before = dict(scene.expected)
        through = scene.kill(at, action, scene.name)
        if through and action is build_of_whole_batches:
            name = newest(scene.home).segments[-1].segment
            assert SegmentCache(tmp_path / "look", store).meta(scene.name, name).whole
        assert scene.seen() in (before, scene.expected)
        scene.build()
        compact(scene.home.index, scene.name)
        assert scene.seen() == scene.served() == scene.expected
        cleanup(scene.home.index, scene.name)
        assert scene.orphans() == set()
        assert scene.seen() == scene.expected
        if through:
            break
    assert at > (5 if action is cleanup else 10)
