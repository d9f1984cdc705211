"""Small segments as one object each: fetched whole, checked whole, put back and removed like any other part."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest
import redis

from runtime.config.settings import StoreSettings
from runtime.errors import CorruptSegment
from runtime.index import integrity, layout, manifest, pack, plan, trust
from runtime.index.cache import SegmentCache
from runtime.index.reader import IndexReader
from runtime.index.segment import decode_meta
from runtime.index.unpack import unpack
from tests.indexing import House, fresh_store, gone, house, put, write
from tests.verifying import World


@pytest.fixture
def home(store_settings: StoreSettings, redis_client: redis.Redis, tmp_path: Path) -> House:
    """One version of two documents; the reader has loaded none."""
    made = house(fresh_store(store_settings), redis_client, tmp_path, later=86_400.0)
    write(made.index, "b1", put("a", 1, "x", "y"), put("b", 2, "z"))
    made.index.build("default")
    return made


def newest(home: House) -> list[str]:
    found = manifest.newest(home.store, "default")
    assert found
    return [ref.segment for ref in found.segments]


def objects(home: House) -> list[str]:
    return sorted(item.key for item in home.store.list(home.store.bucket, layout.segments("default")))


def cut(data: bytes) -> bytes:
    return data[:-1]


def longer(data: bytes) -> bytes:
    return data + b"x"


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def head_flipped(data: bytes) -> bytes:
    return data[:9] + bytes([data[9] ^ 1]) + data[10:]


def length_flipped(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


def empty(data: bytes) -> bytes:
    return b""


DAMAGES = [cut, longer, flipped, head_flipped, length_flipped, empty]


def test_a_small_segment_is_one_object_and_a_large_one_is_files(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack, "LARGEST", 10_000)
    write(home.index, "b2", *(put(f"k{number}", number) for number in range(100)))
    home.index.build("default", ["b2"])
    small, large = newest(home)
    assert layout.is_packed(small) and not layout.is_packed(large)
    own = [key for key in objects(home) if small in key]
    assert own == [layout.beginning("default", small)]
    assert len(objects(home)) > 5
    home.reader.refresh("default")
    assert len(home.contents()) == 102


def test_both_kinds_are_built_upon_merged_and_removed(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index that an earlier release built goes on, and what was packed is no different afterwards."""
    with monkeypatch.context() as earlier:
        earlier.setattr(pack, "LARGEST", 0)
        write(home.index, "b2", put("a", 3, "anew"), put("c", 4))
        home.index.build("default", ["b2"])
    write(home.index, "b3", gone("b", 5), put("c", 6, "again"))
    home.index.build("default", ["b3"])
    assert [layout.is_packed(name) for name in newest(home)] == [True, False, True]
    expected = {"a": ["anew"], "c": ["again"]}
    home.reader.refresh("default")
    assert home.contents() == expected
    monkeypatch.setattr(plan, "MANY_SEGMENTS", 1)
    assert home.index.compact("default").merged == 3
    home.reader.refresh("default")
    assert home.contents() == expected
    home.index.cleanup("default", 0)
    (merged,) = newest(home)
    assert objects(home) == [layout.beginning("default", merged)]


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_was_changed_in_the_store_is_not_loaded(home: House, damage: Callable[[bytes], bytes]) -> None:
    key = layout.beginning("default", newest(home)[0])
    good = home.store.get(home.store.bucket, key).data
    home.store.put(home.store.bucket, key, damage(good))
    with pytest.raises(CorruptSegment, match=f"{key}.*hash"):
        home.reader.refresh("default")
    assert not list(home.cache.rglob("rows.bin"))
    (found,) = integrity.survey(home.store, "default")
    assert (found.what, key in found.detail) == ("segment", True)
    home.store.put(home.store.bucket, key, good)
    assert home.reader.refresh("default")
    assert home.contents() == {"a": ["x", "y"], "b": ["z"]}


@pytest.mark.parametrize("damage", [cut, flipped, None])
def test_what_is_damaged_in_the_store_is_put_back_from_this_host(
    store_settings: StoreSettings,
    broker_url: str,
    redis_client: redis.Redis,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[bytes], bytes] | None,
) -> None:
    monkeypatch.setattr(integrity, "PAUSE_SECONDS", 0.0)
    world = World(store_settings, broker_url, redis_client, tmp_path)
    world.settled("a", "b")
    IndexReader(world.store, tmp_path / "index-cache").refresh("default")
    (ref,) = world.newest().segments
    key = layout.beginning("default", ref.segment)
    good = world.store.get(world.store.bucket, key).data
    if damage:
        world.store.put(world.store.bucket, key, damage(good))
    else:
        world.store.delete(world.store.bucket, key)
    assert world.verify()[0] == 1
    code, output = world.verify("--repair")
    assert code == 0 and "put back from the copy on this host" in output
    assert world.store.get(world.store.bucket, key).data == good


def test_a_file_that_vanished_from_the_cache_is_fetched_again(home: House) -> None:
    home.reader.refresh("default")
    for name in ("rows.bin", "meta.json"):
        (path,) = home.cache.rglob(name)
        data = path.read_bytes()
        path.unlink()
        again = IndexReader(home.store, home.cache)
        assert again.refresh("default")
        assert dataclasses.replace(home, reader=again).contents() == {"a": ["x", "y"], "b": ["z"]}
        assert path.read_bytes() == data


def test_what_was_fetched_is_looked_at_after_the_machine_was_started_again(
    home: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was not forced to disk."""
    home.reader.refresh("default")
    (path,) = home.cache.rglob("rows.bin")
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(bytes(len(data)))
    monkeypatch.setattr(trust, "_boot", lambda: "another start")
    assert SegmentCache(home.cache, home.store).open("default", newest(home)[0]).row(0)
    assert path.read_bytes() == data


def test_two_that_unpack_the_same(home: House, tmp_path: Path) -> None:
    (name,) = newest(home)
    key = layout.beginning("default", name)
    data = home.store.get(home.store.bucket, key).data
    together = threading.Barrier(4)

    def once(number: int) -> int:
        room = tmp_path / f"room {number}"
        room.mkdir()
        together.wait()
        return unpack(name, key, data, tmp_path / "segments" / name, room).vectors

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(once, range(4))) == [3] * 4
    meta, files = pack.split(name, key, data)
    for file, content in files.items():
        assert (tmp_path / "segments" / name / file).read_bytes() == content
    assert pack.join(tmp_path / "segments" / name, meta) == data


@pytest.mark.parametrize("name", ["../rows.msgpack", "/etc/passwd", "a/b", "meta.json", "..", ""])
def test_a_segment_names_no_file_outside_of_it(name: str) -> None:
    data = json.dumps({"format": 1, "batches": [], "files": {name: ["0" * 64, 1]}}).encode()
    with pytest.raises(CorruptSegment, match="no file of a segment"):
        decode_meta(sha256(data).hexdigest(), data)
