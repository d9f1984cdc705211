"""`tundish index verify`: whatever of the index itself is lost or changed is found, and named."""

from __future__ import annotations

import dataclasses
import json
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import redis

from runtime.config.settings import StoreSettings
from runtime.index import batch_commit, layout
from runtime.index.packed import FIELDS, pack
from runtime.index.port import FaissIndex
from runtime.index.reader import IndexReader
from runtime.index.segment import META, decode_meta
from tests.indexing import vector
from tests.verifying import World

pytestmark = pytest.mark.usefixtures("in_files")


@pytest.fixture
def world(store_settings: StoreSettings, broker_url: str, redis_client: redis.Redis, tmp_path: Path) -> World:
    return World(store_settings, broker_url, redis_client, tmp_path)


def test_a_lost_chunk(world: World) -> None:
    """One row of a document is hidden as if it were of an older version."""
    batch = world.settled("a", "b")
    (ref,) = world.newest().segments
    bits = np.packbits(np.array([0, 1, 0, 0, 0, 0], bool), bitorder="little").tobytes()
    name = sha256(bits).hexdigest()
    world.store.put(world.store.bucket, layout.tombstones("default") + name, bits)
    world.publish(segments=(dataclasses.replace(ref, tombstones=name, live=5),))
    code, output = world.verify()
    assert code == 1
    assert f"2 chunks are searchable, its batch {batch[:12]} has 3" in output
    assert list(world.found().values()) == ["chunks"]


def test_an_older_version_that_is_still_found(world: World) -> None:
    """The tombstones that hid it are left out of the manifest."""
    world.settled("a", "b")
    world.embed(a=world.put("docs/a.txt", "other bytes"))
    world.index.build("default")
    assert world.found() == {}
    old, new = world.newest().segments
    world.publish(segments=(dataclasses.replace(old, tombstones=None, live=6, documents=2), new))
    code, output = world.verify()
    assert code == 1
    assert "an older version of it, etag" in output
    assert world.found() == {"a": "extra"}


def test_a_removed_document_that_is_still_found(world: World) -> None:
    world.settled("a", "b")
    world.store.delete(world.bucket, "docs/a.txt")
    world.embed(a="")
    world.index.build("default")
    assert world.found() == {}
    old, new = world.newest().segments
    world.publish(segments=(dataclasses.replace(old, tombstones=None, live=6, documents=2), new))
    assert world.found() == {"a": "extra"}


@pytest.mark.parametrize("how", ["gone", "cut", "flipped"])
def test_a_damaged_part(world: World, tmp_path: Path, how: str) -> None:
    """Each of them. The copies of builders and readers are whole; what the store has is not."""
    world.settled("a", "b")
    (ref,) = world.newest().segments
    reader = IndexReader(world.store, tmp_path / "reader")
    reader.refresh("default")
    for name in (META, *decode_meta(ref.segment, stored(world, ref.segment, META)).files):
        place, data = layout.segment("default", ref.segment) + name, stored(world, ref.segment, name)
        if how == "gone":
            world.store.delete(world.store.bucket, place)
        else:
            world.store.put(world.store.bucket, place, data[:-1] if how == "cut" else data[:-1] + bytes([data[-1] ^ 1]))
        code, output = world.verify("--json")
        (report,) = json.loads(output)["indexes"]
        found = {one["key"]: (one["kind"], one["detail"]) for one in report["findings"]}
        # Its documents are not called missing: who follows the advice for these would embed them all again.
        assert code == 1 and [one["kind"] for one in report["findings"]] == ["damaged"]
        assert ref.segment[:12] in found[""][1] and (how != "gone" or "is gone" in found[""][1])
        assert not reader.refresh("default") and len(reader.search("default", vector("any"), 9).hits) == 6
        world.store.put(world.store.bucket, place, data)
    assert world.found() == {}


def stored(world: World, segment: str, name: str) -> bytes:
    return world.store.get(world.store.bucket, layout.segment("default", segment) + name).data


def test_a_damaged_index_is_built_anew_from_its_batches(world: World, tmp_path: Path) -> None:
    world.settled("a", "b")
    world.embed(b=world.put("docs/b.txt", "other bytes"))
    world.index.build("default")
    (ref, _) = world.newest().segments
    world.store.delete(world.store.bucket, layout.segment("default", ref.segment) + "rows.bin")
    assert world.verify()[0] == 1
    for info in list(world.store.list(world.store.bucket, layout.root("default"))):
        world.store.delete(world.store.bucket, info.key)
    FaissIndex(world.store, world.client, tmp_path / "another cache").build("default")
    assert world.found() == {}


def test_lost_tombstones(world: World) -> None:
    world.settled("a", "b")
    world.embed(a=world.put("docs/a.txt", "other bytes"))
    world.index.build("default")
    tombstones = world.newest().segments[0].tombstones
    world.store.delete(world.store.bucket, f"{layout.tombstones('default')}{tombstones}")
    assert world.found() == {"": "damaged"}


def test_a_manifest_that_is_none(world: World) -> None:
    world.settled("a")
    world.store.put(world.store.bucket, layout.manifest("default", 2), b"{")
    assert "000000000002.json is not a manifest" in world.verify()[1]
    assert world.found() == {"": "damaged"}


@pytest.mark.parametrize("how", ["gone", "flipped"])
def test_a_batch_that_the_index_could_not_be_built_from_again(world: World, how: str) -> None:
    batch = world.settled("a", "b")
    place = layout.batch("default", batch) + layout.ROWS
    if how == "gone":
        world.store.delete(world.store.bucket, place)
    else:
        world.store.put(world.store.bucket, place, b"\xc1")
    code, output = world.verify()
    assert code == 1
    assert batch in output and "2 documents of the index were made from it." in output
    assert world.found() == {"": "damaged"}


def test_a_batch_that_was_cut_short(world: World) -> None:
    """Its rows name fewer chunks than it has vectors."""
    batch = world.settled("a")
    place = layout.batch("default", batch) + layout.ROWS
    commit = batch_commit.decode(place, world.store.get(world.store.bucket, place).data)
    *rows, _ = [[getattr(row, name) for name in FIELDS] for row in commit.rows()]
    packed, _ = pack(rows, np.empty((len(rows), 1), np.float32))
    world.store.put(world.store.bucket, place, batch_commit.encode(packed, commit.model, 1, commit.vectors))
    assert "holds 3 vectors for 2 rows" in world.verify()[1]
    assert world.found() == {"": "damaged"}


def test_vectors_that_the_index_could_not_be_built_from_again(world: World) -> None:
    batch = world.settled("a", "b")
    place = layout.batch("default", batch) + layout.VECTORS
    data = world.store.get(world.store.bucket, place).data
    world.store.put(world.store.bucket, place, data[:-1] + bytes([data[-1] ^ 1]))
    assert "does not match the hash" in world.verify()[1]


def test_a_batch_that_is_skipped_is_named(world: World) -> None:
    world.settled("a")
    batch = world.embed(b=world.put("docs/b.txt"))
    world.store.put(world.store.bucket, layout.batch("default", batch) + layout.VECTORS, b"damage")
    world.settled("c")
    code, output = world.verify()
    assert code == 1
    assert f"{batch}/vectors.npy does not match the hash" in output
    assert world.found() == {"b": "missing"}
