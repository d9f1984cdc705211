"""The cache of segments: what is fetched is checked, what is damaged is fetched again, and what is not used goes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import pytest
import redis

from runtime.config.settings import StoreSettings
from runtime.errors import StoreDown
from runtime.index import layout, manifest, trust
from runtime.index.cache import SegmentCache
from runtime.index.fetch import alone
from runtime.index.reader import IndexReader
from runtime.store.port import MinioStore
from tests.indexing import House, fresh_store, gone, house, put, write


@pytest.fixture
def home(store_settings: StoreSettings, redis_client: redis.Redis, tmp_path: Path) -> House:
    return house(fresh_store(store_settings), redis_client, tmp_path)


@pytest.mark.parametrize("name", ["index.faiss", "rows.bin", "docs.npy", "offsets.npy", "meta.json"])
def test_a_file_in_the_cache_that_was_cut_is_fetched_again(home: House, name: str) -> None:
    path, data = damaged(home, name, lambda data: data[: len(data) // 2])
    again = IndexReader(home.store, home.cache)
    assert again.refresh("default")
    assert dataclasses.replace(home, reader=again).contents() == {"a": ["x", "y"], "b": ["z"]}
    assert path.read_bytes() == data


@pytest.mark.parametrize("name", ["index.faiss", "docs.npy", "offsets.npy", "meta.json"])
def test_a_file_in_the_cache_that_cannot_be_opened_is_fetched_again(home: House, name: str) -> None:
    path, data = damaged(home, name, lambda data: bytes(200) + data[200:])
    again = IndexReader(home.store, home.cache)
    assert again.refresh("default")
    assert dataclasses.replace(home, reader=again).contents() == {"a": ["x", "y"], "b": ["z"]}
    assert path.read_bytes() == data


def test_a_damage_that_opening_does_not_see_is_found_by_a_check(home: House) -> None:
    """Opening looks at no hashes: a large index would take seconds."""
    path, data = damaged(home, "rows.bin", lambda data: data[:-1] + bytes([data[-1] ^ 1]))
    cache = SegmentCache(home.cache, home.store)
    sha = path.parent.name
    assert cache.check("default", sha) == ["rows.bin"]
    assert not path.exists()
    assert cache.check("default", sha) == []
    cache.open("default", sha)
    assert path.read_bytes() == data


def test_what_was_built_here_is_looked_at_after_the_machine_was_started_again(
    home: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A segment that was built is not forced to disk: a power cut may leave holes in files of the right length."""
    write(home.index, "b1", put("a", 1, "x"))
    home.index.build("default")
    (path,) = (tmp_path / "builder").rglob("rows.bin")
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(bytes(len(data)))
    monkeypatch.setattr(trust, "_boot", lambda: "another start")
    reader = IndexReader(home.store, tmp_path / "builder")
    assert reader.refresh("default")
    assert dataclasses.replace(home, reader=reader).contents() == {"a": ["x"]}
    assert path.read_bytes() == data
    monkeypatch.setattr(SegmentCache, "check", None)
    assert IndexReader(home.store, tmp_path / "builder").refresh("default"), "once is enough"


@pytest.mark.usefixtures("in_files")
def test_a_fetch_that_breaks_leaves_nothing(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home.index, "b1", put("a", 1, "x"))
    home.index.build("default")
    download = MinioStore.download

    def broken(store: MinioStore, bucket: str, key: str, file: BinaryIO) -> None:
        download(store, bucket, key, file)
        if key.endswith("rows.bin"):
            raise StoreDown

    monkeypatch.setattr(MinioStore, "download", broken)
    with pytest.raises(StoreDown):
        home.reader.refresh("default")
    assert not list(home.cache.rglob("rows.bin")) and not list(home.cache.rglob(".part-*"))
    assert list(home.cache.rglob("docs.npy")), "what came whole stays"
    monkeypatch.undo()
    assert home.reader.refresh("default")
    assert home.contents() == {"a": ["x"]}


@pytest.mark.usefixtures("in_files")
def test_one_of_many_readers_of_a_host_fetches(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home.index, "b1", put("a", 1, "x"), put("b", 2, "y"))
    home.index.build("default")
    fetched: list[str] = []
    download = MinioStore.download

    def counted(store: MinioStore, bucket: str, key: str, file: BinaryIO) -> None:
        fetched.append(key)
        download(store, bucket, key, file)

    monkeypatch.setattr(MinioStore, "download", counted)
    readers = [IndexReader(home.store, home.cache) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(lambda reader: reader.refresh("default"), readers))
    assert fetched and len(fetched) == len(set(fetched))


def test_a_segment_that_is_being_fetched_is_not_removed(home: House) -> None:
    folder = home.cache / "default" / "segments" / "f" / ""
    folder.mkdir(parents=True)
    cache = SegmentCache(home.cache, home.store)
    with alone(folder) as held:
        assert held
        cache.trim("default", set(), -1.0)
        assert folder.exists()
    cache.trim("default", set(), -1.0)
    assert not folder.exists()


def open_files() -> Iterator[str]:
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            yield str(link.readlink())


def damaged(home: House, name: str, change: Callable[[bytes], bytes]) -> tuple[Path, bytes]:
    """A file of a cached segment, changed, and what it was."""
    write(home.index, "b1", put("a", 1, "x", "y"), put("b", 2, "z"))
    home.index.build("default")
    home.reader.refresh("default")
    (path,) = home.cache.rglob(name)
    data = path.read_bytes()
    path.unlink()  # a mapped file is never changed in place
    path.write_bytes(change(data))
    return path, data


def test_damaged_tombstones_in_the_cache_are_fetched_again(home: House) -> None:
    write(home.index, "b1", put("a", 1, "x"), put("b", 2, "y"), put("c", 3, "z"))
    home.index.build("default")
    write(home.index, "b2", gone("a", 4))
    home.index.build("default")
    home.reader.refresh("default")
    (path,) = (home.cache / "default" / "tombstones").iterdir()
    path.write_bytes(b"\0")
    again = IndexReader(home.store, home.cache)
    again.refresh("default")
    assert sorted(dataclasses.replace(home, reader=again).contents()) == ["b", "c"]


def test_after_many_swaps_a_process_holds_what_is_in_use(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Open files, mappings and the bytes of the cache do not grow with the number of versions."""
    monkeypatch.setattr(SegmentCache.trim, "__defaults__", (-1.0,))
    held = []
    for number in range(14):
        write(home.index, f"b{number}", put("k", number, f"content {number}"))
        home.index.build("default")
        if number % 5 == 4:
            home.index.compact("default")
        assert home.reader.refresh("default")
        assert home.contents() == {"k": [f"content {number}"]}
        newest = manifest.newest(home.store, "default")
        assert newest is not None
        kept = {path.name for path in (home.cache / "default" / "segments").iterdir()}
        assert kept == {ref.segment for ref in newest.segments}
        mapped = Path("/proc/self/maps").read_text().count(str(home.cache))
        opened = sum(str(home.cache) in place for place in open_files())
        held.append((mapped / len(kept), opened / len(kept)))
    assert max(held[7:]) <= max(held[:7])


def test_readers_share_a_cache_with_the_builder(home: House, tmp_path: Path) -> None:
    write(home.index, "b1", put("a", 1, "x"))
    home.index.build("default")
    reader = IndexReader(home.store, tmp_path / "builder")
    newest = manifest.newest(home.store, "default")
    assert newest is not None
    home.store.delete(home.store.bucket, layout.beginning("default", newest.segments[0].segment))
    assert reader.refresh("default"), "nothing had to be fetched"
