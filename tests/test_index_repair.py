"""`tundish index verify --repair`: what can be put back or built anew is; what cannot is named."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import pytest
import redis

from runtime.buckets import replays
from runtime.config.settings import StoreSettings
from runtime.errors import CorruptSegment
from runtime.index import integrity, kinds, layout, segment_write
from runtime.index.reader import IndexReader
from runtime.index.scan_write import write_scan
from runtime.index.segment import SCAN
from tests.indexing import vector
from tests.verifying import World

pytestmark = pytest.mark.usefixtures("in_files")


@pytest.fixture
def world(
    store_settings: StoreSettings,
    broker_url: str,
    redis_client: redis.Redis,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> World:
    """Two documents in two versions; the newer one has tombstones over the segment of the older one."""
    made = World(store_settings, broker_url, redis_client, tmp_path)
    made.settled("a", "b")
    made.embed(b=made.put("docs/b.txt", "other bytes"))
    made.index.build("default")
    monkeypatch.setattr(integrity, "PAUSE_SECONDS", 0.0)  # nobody is about to write it
    return made


def cached(world: World, folder: Path) -> Path:
    """What this host's gateway has fetched."""
    IndexReader(world.store, folder / "index-cache").refresh("default")
    return folder / "index-cache" / "default"


def flip(world: World, key: str) -> None:
    data = world.store.get(world.store.bucket, key).data
    world.store.put(world.store.bucket, key, data[:-1] + bytes([data[-1] ^ 1]))


def repaired(world: World) -> str:
    """All is well afterwards; returns what was told."""
    assert world.verify()[0] == 1
    code, output = world.verify("--repair")
    assert code == 0, output
    assert world.found() == {}
    reader = IndexReader(world.store, Path(world.environ["TUNDISH_HOME"]) / "elsewhere")
    reader.refresh("default")
    assert {hit.key for hit in reader.search("default", vector("any"), 10).hits} == {"docs/a.txt", "docs/b.txt"}
    return output


@pytest.mark.parametrize("by_faiss", [False, True])
def test_a_compact_form_is_made_anew_from_the_vectors(
    store_settings: StoreSettings,
    broker_url: str,
    redis_client: redis.Redis,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    by_faiss: bool,
) -> None:
    """No copy of it is on this host; nothing is built anew for it, and no older version is given up.

    `by_faiss`: it is one of an earlier release.
    """
    monkeypatch.setattr(kinds, "COMPACT_FROM", 1)
    monkeypatch.setattr(segment_write, "write_scan", partial(write_scan, by_faiss=by_faiss))
    monkeypatch.setattr(integrity, "PAUSE_SECONDS", 0.0)
    made = World(store_settings, broker_url, redis_client, tmp_path)
    made.settled("a", "b")
    made.embed(b=made.put("docs/b.txt", "other bytes"))
    made.index.build("default")
    before = made.newest()
    key = layout.segment("default", before.segments[0].segment) + SCAN
    whole = made.store.get(made.store.bucket, key).data
    flip(made, key)
    shutil.rmtree(Path(made.environ["TUNDISH_HOME"], "index-cache"), ignore_errors=True)
    output = repaired(made)
    assert f"{SCAN} is made anew from its vectors" in output
    assert "removed" not in output
    assert made.store.get(made.store.bucket, key).data == whole
    assert made.newest().generation == before.generation


@pytest.mark.parametrize("part", ["index.faiss", "meta.json", "tombstones"])
def test_what_nobody_has_is_built_anew(world: World, part: str) -> None:
    ref = world.newest().segments[0]
    lost = layout.segment("default", ref.segment) + part
    world.store.delete(
        world.store.bucket, f"{layout.tombstones('default')}{ref.tombstones}" if part == "tombstones" else lost
    )
    output = repaired(world)
    assert "Generation 3 is built anew from the batches" in output
    assert world.newest().generation == 3
    broken = {"000000000002.json"} if part == "tombstones" else {"000000000001.json", "000000000002.json"}
    for name in broken:
        assert f"{name} is removed, as its version cannot be restored" in output


@pytest.mark.parametrize("part", ["rows.bin", "tombstones"])
def test_what_this_host_has_is_put_back(world: World, tmp_path: Path, part: str) -> None:
    cached(world, tmp_path)
    ref = world.newest().segments[0]
    lost = layout.segment("default", ref.segment) + part
    flip(world, f"{layout.tombstones('default')}{ref.tombstones}" if part == "tombstones" else lost)
    assert "put back from the copy on this host" in repaired(world)
    assert world.newest().generation == 2 and len(world.index.versions("default")) == 2


def test_a_copy_that_is_damaged_too_is_not_put_back(world: World, tmp_path: Path) -> None:
    folder = cached(world, tmp_path)
    ref = world.newest().segments[0]
    path = folder / "segments" / ref.segment / "rows.bin"
    path.write_bytes(b"\0" * path.stat().st_size)
    world.store.delete(world.store.bucket, layout.segment("default", ref.segment) + "rows.bin")
    assert "Generation 3 is built anew" in repaired(world)


def test_a_copy_on_this_host(world: World, tmp_path: Path) -> None:
    folder = cached(world, tmp_path)
    path = folder / "segments" / world.newest().segments[0].segment / "index.faiss"
    path.write_bytes(b"\0" * path.stat().st_size)
    assert world.found() == {"": "local"}
    assert str(path) in world.verify()[1]
    assert "until it is started again" in repaired(world)


def test_the_newest_manifest(world: World) -> None:
    world.store.put(world.store.bucket, layout.manifest("default", 2), b"{")
    assert "Generation 2 is lost or cannot be read: 3 is like 1" in repaired(world)
    assert [one.generation for one in world.index.versions("default")] == [4, 3, 1]


def test_a_manifest_that_is_gone(world: World) -> None:
    """Its number is not given to another version: a gateway that has loaded it would not look."""
    world.store.delete(world.store.bucket, layout.manifest("default", 2))
    assert "latest.json names generation 2; the newest is 1" in world.verify()[1]
    assert "Generation 2 is lost or cannot be read: 3 is like 1" in repaired(world)
    assert [one.generation for one in world.index.versions("default")] == [4, 3, 1]


def test_every_manifest(world: World) -> None:
    for generation in (1, 2):
        world.store.put(world.store.bucket, layout.manifest("default", generation), b"{")
    assert "Generation 2 is lost or cannot be read: 3 is empty" in repaired(world)
    assert world.newest().generation == 4


def test_a_version_to_go_back_to(world: World) -> None:
    """Its manifest was changed; the newest version has nothing to do with it."""
    key = layout.manifest("default", 1)
    data = world.store.get(world.store.bucket, key).data
    world.store.put(world.store.bucket, key, data.replace(b'"held": false', b'"held": true'))
    code, output = world.verify()
    assert code == 1 and "was made after another generation 1 than the one that is stored" in output
    world.store.put(world.store.bucket, key, b"")
    assert "000000000001.json is removed" in repaired(world)


@pytest.mark.parametrize("hint", [None, b"{", b'{"generation": 1}'])
def test_the_pointer(world: World, hint: bytes | None) -> None:
    key = layout.latest("default")
    if hint is None:
        world.store.delete(world.store.bucket, key)
    else:
        world.store.put(world.store.bucket, key, hint)
    assert world.found() == {"": "damaged"}
    assert "latest.json names generation 2 again" in repaired(world)


def test_a_rollback_that_holds_a_damaged_version(world: World) -> None:
    world.index.rollback("default", 1)
    world.index.release("default")
    world.index.rollback("default", 2)
    (ref, _) = world.newest().segments
    world.store.delete(world.store.bucket, layout.segment("default", ref.segment) + "rows.bin")
    code, output = world.verify("--repair")
    assert code == 1 and "left  Generation 5 is damaged, and a rollback holds it" in output


def test_documents_whose_batch_is_damaged_are_handed_out_again(world: World) -> None:
    batch = world.settled("c")
    world.store.delete(world.store.bucket, layout.batch("default", batch) + layout.VECTORS)
    code, output = world.verify("--repair")
    assert code == 1, "they are not embedded yet"
    assert f"repaired  1 documents of {world.bucket} are handed out again" in output
    (replay,) = replays.under_way(world.client, world.project)
    assert (replay["bucket"], replay["prefix"]) == (world.bucket, "docs/c.txt")


def test_documents_that_are_missing_are_handed_out_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.put("docs/new.txt")
    code, output = world.verify("--repair", "--json")
    (report,) = json.loads(output)["indexes"]
    assert code == 1 and report["repair"]["done"] == [f"1 documents of {world.bucket} are handed out again."]
    monkeypatch.setattr("runtime.index.repair.MOST_KEYS", 0)
    assert f"tundish replay --bucket {world.bucket}" in world.verify("--repair")[1]


def test_what_is_well_is_left_alone(world: World) -> None:
    before = {item.key: item.etag for item in world.store.list(world.store.bucket)}
    assert world.verify("--repair")[0] == 0
    assert {item.key: item.etag for item in world.store.list(world.store.bucket)} == before


def test_a_build_says_how_a_manifest_is_mended(world: World) -> None:
    world.store.put(world.store.bucket, layout.manifest("default", 2), b"{")
    with pytest.raises(CorruptSegment, match="verify --repair"):
        world.index.build("default")
