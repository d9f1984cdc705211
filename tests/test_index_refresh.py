"""What loading a version does, and what it leaves out: searches that run meanwhile wait for every bit of it."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import redis

from gateway import routes, starting
from gateway.state import Gateway
from runtime.config.settings import StoreSettings
from runtime.index import layout, manifest, npy
from runtime.index.announcement import Announcement
from runtime.index.cache import SegmentCache
from runtime.index.reader import IndexReader
from runtime.store.port import MinioStore
from tests.indexing import House, fresh_store, gone, house, put, vector, write


@pytest.fixture
def home(store_settings: StoreSettings, redis_client: redis.Redis, tmp_path: Path) -> House:
    return house(fresh_store(store_settings), redis_client, tmp_path)


def counted(monkeypatch: pytest.MonkeyPatch, name: str) -> list[Any]:
    """What this method of the store is asked for from now on: keys, lists of keys, or prefixes."""
    asked: list[Any] = []
    real: Callable[..., Any] = getattr(MinioStore, name)

    def method(store: MinioStore, bucket: str, key: Any, *given: Any, **named: Any) -> Any:
        asked.append(key)
        return real(store, bucket, key, *given, **named)

    monkeypatch.setattr(MinioStore, name, method)
    return asked


def test_an_announced_version_is_read_without_a_listing(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home.index, "b1", put("a", 1, "x"))
    home.index.build("default")
    home.reader.refresh("default")
    write(home.index, "b2", put("b", 2, "y"), gone("a", 3))
    home.index.build("default")
    reader = IndexReader(home.store, home.cache.parent / "builder")
    reader.refresh("default")
    write(home.index, "b3", put("c", 4, "z"), gone("b", 5))
    home.index.build("default")
    listed, read, fetched = (counted(monkeypatch, name) for name in ("list", "get_many", "download"))
    assert reader.refresh("default", Announcement("default", 3))
    assert (listed, read, fetched) == ([], [[layout.manifest("default", 3)]], []), "all else is in the builder's cache"
    assert [hit.key for hit in reader.search("default", vector("z"), 5).hits] == ["c"]


def test_what_was_announced_and_is_not_there_does_no_harm(home: House) -> None:
    write(home.index, "b1", put("a", 1, "x"))
    home.index.build("default")
    home.reader.refresh("default", Announcement("default", 7))
    assert not home.reader.refresh("default", Announcement("default", 7)), "there is no such version"
    write(home.index, "b2", put("b", 2, "y"))
    home.index.build("default")
    assert home.reader.refresh("default", Announcement("default", 7)), "but there is another one"
    assert not home.reader.refresh("default", Announcement("default", 1)), "which is newer than this one"
    assert sorted(home.contents()) == ["a", "b"]


def test_the_cache_is_looked_through_now_and_then(home: House, tmp_path: Path) -> None:
    cache = SegmentCache(tmp_path / "cache", home.store)
    folder = tmp_path / "cache" / layout.own("default") / "segments"

    def old(name: str) -> Path:
        (folder / name).mkdir(parents=True)
        (folder / name / "file").write_bytes(b"x")
        os.utime(folder / name, (time.time() - 3600,) * 2)
        return folder / name

    first, kept = old("first"), old("kept")
    cache.trim("default", {"kept"})
    assert (first.exists(), kept.exists()) == (False, True)
    second = old("second")
    cache.trim("default", {"kept"})
    assert second.exists(), "that was a moment ago"
    cache.trim("other", set())
    cache.trim("default", {"kept"}, 0.0)
    assert not second.exists()


def test_bytes_are_mapped(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert len(npy.octets(tmp_path / "empty")) == 0
    numbers = np.arange(7, dtype=np.uint64)
    np.save(tmp_path / "numbers.npy", numbers)
    mapped = npy.mapped(tmp_path / "numbers.npy", np.dtype(np.uint64))
    assert mapped.tolist() == numbers.tolist()
    assert type(mapped) is np.ndarray
    assert not mapped.flags.writeable
    (tmp_path / "numbers.npy").unlink()
    assert int(mapped.sum()) == 21, "what is mapped stays"


@pytest.mark.parametrize("failing", [False, True])
def test_the_collector_works_again_after_the_start(failing: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    async def first_look(seconds: float) -> None:
        assert seconds
        done.append("indexes")

    async def in_thread(work: Callable[[], None]) -> None:
        work()

    def import_all() -> None:
        assert not gc.isenabled()
        done.append("routes")
        if failing:
            raise ImportError("one of them is broken")

    monkeypatch.setattr(starting, "REST_SECONDS", 0.0)
    monkeypatch.setattr(routes, "import_all", import_all)
    gateway = SimpleNamespace(indexes=SimpleNamespace(first_look=first_look), in_thread=in_thread)
    gc.disable()
    try:
        asyncio.run(starting.finish(cast(Gateway, gateway)))
        assert done == ["indexes", "routes"]
        assert gc.isenabled()
        assert gc.get_freeze_count(), "what is there stays, and is not looked at again"
    finally:
        gc.unfreeze()
        gc.enable()


def test_the_newest_manifest_is_found_whatever_was_announced(home: House) -> None:
    for number in range(1, 4):
        write(home.index, f"b{number}", put("a", number, f"text {number}"))
        home.index.build("default")
    home.reader.refresh("default", Announcement("default", 2))
    newest = manifest.newest(home.store, "default")
    version = home.reader.version("default")
    assert newest is not None
    assert version is not None
    assert version.generation == newest.generation == 3, "nothing was in use yet: the listing decides"
