"""Reading: swapped while it is searched, kept when a load fails, repaired from the store."""

from __future__ import annotations

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import redis

from runtime.config import StoreSettings
from runtime.errors import BadInput, CorruptSegment
from runtime.index import layout, manifest
from runtime.index.reader import IndexReader, SearchResult
from tests.indexing import House, Vectors, fresh_store, gone, house, put, vector, write


@pytest.fixture
def home(store_settings: StoreSettings, redis_client: redis.Redis, tmp_path: Path) -> House:
    return house(fresh_store(store_settings), redis_client, tmp_path)


def test_an_index_that_does_not_exist(home: House) -> None:
    assert not home.reader.refresh("nobody")
    assert home.reader.version("nobody") is None
    assert home.reader.search("nobody", vector("x"), 5) == SearchResult("", 0, [])


def test_a_version_is_loaded_once(home: House) -> None:
    write(home.index, "b1", put("a", 1, "x"))
    report = home.index.build("default")
    assert home.reader.refresh("default")
    assert not home.reader.refresh("default")
    version = home.reader.version("default")
    assert version is not None
    assert (version.version, version.generation) == (report.version, 1)
    result = home.reader.search("default", vector("x"), 5)
    assert (result.version, result.generation, len(result.hits)) == (report.version, 1, 1)
    assert result.hits[0].score == pytest.approx(1, abs=1e-5)


def test_hits_are_exact_and_in_order_over_several_segments(home: House) -> None:
    texts = [f"text {number}" for number in range(60)]
    for part in range(4):
        write(home.index, f"b{part}", *(put(text, 1, text) for text in texts[part::4]))
        home.index.build("default")
    home.reader.refresh("default")
    for query in (vector("query"), 7 * vector("other")):
        hits = home.reader.search("default", query, 10).hits
        scores = {text: float(vector(text) @ query / np.linalg.norm(query)) for text in texts}
        best = sorted(texts, key=scores.__getitem__, reverse=True)[:10]
        assert [hit.key for hit in hits] == best
        assert [hit.score for hit in hits] == pytest.approx([scores[text] for text in best], abs=1e-5)


def test_tombstones_do_not_take_places_of_the_living(home: House) -> None:
    query = vector("query")
    texts = sorted((f"text {number}" for number in range(40)), key=lambda text: float(-(vector(text) @ query)))
    write(home.index, "b1", *(put(text, 1, text) for text in texts))
    home.index.build("default")
    write(home.index, "b2", *(gone(text, 2) for text in texts[:15]))
    home.index.build("default")
    newest = manifest.newest(home.store, "default")
    assert newest is not None and any(ref.tombstones for ref in newest.segments)
    home.reader.refresh("default")
    assert [hit.key for hit in home.reader.search("default", query, 10).hits] == texts[15:25]
    assert len(home.reader.search("default", query, 1000).hits) == 25


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        (np.ones(3, np.float32), "has 3 numbers.*needs 16"),
        (np.zeros(16, np.float32), "zeros"),
        (np.full(16, np.nan, np.float32), "finite"),
    ],
)
def test_a_vector_that_is_none_of_this_index(home: House, query: Vectors, reason: str) -> None:
    write(home.index, "b1", put("a", 1))
    home.index.build("default")
    home.reader.refresh("default")
    with pytest.raises(BadInput, match=reason):
        home.reader.search("default", query, 5)
    with pytest.raises(BadInput, match="between 1 and"):
        home.reader.search("default", vector("x"), 0)


def test_swaps_under_concurrent_searches(home: House) -> None:
    write(home.index, "b0", put("fixed", 1, "fixed"), put("moving", 2, "moving 0"))
    home.index.build("default")
    home.reader.refresh("default")
    stop = threading.Event()

    def search() -> int:
        rounds = 0
        newest = 0
        while not stop.is_set():
            result = home.reader.search("default", vector("fixed"), 2)
            texts = {hit.key: hit.text for hit in result.hits}
            assert texts["fixed"] == "fixed"
            assert texts["moving"] == f"moving {result.generation - 1}", "a result is of one version"
            assert result.generation >= newest
            newest = result.generation
            rounds += 1
        return rounds

    with ThreadPoolExecutor(3) as pool:
        running = [pool.submit(search) for _ in range(3)]
        try:
            for number in range(1, 9):
                write(home.index, f"b{number}", put("moving", 2 + number, f"moving {number}"))
                home.index.build("default")
                assert home.reader.refresh("default")
        finally:
            stop.set()
        assert all(future.result() > 0 for future in running)


def test_a_failed_load_keeps_the_old_version(home: House, caplog: pytest.LogCaptureFixture) -> None:
    write(home.index, "b1", put("a", 1, "old"))
    home.index.build("default")
    home.reader.refresh("default")
    write(home.index, "b2", put("b", 2, "new"))
    home.index.build("default")
    newest = manifest.newest(home.store, "default")
    assert newest is not None
    path = layout.segment("default", newest.segments[-1].segment) + "rows.bin"
    good = home.store.get(home.store.bucket, path).data
    home.store.put(home.store.bucket, path, good[:-1] + b"\xff")
    with pytest.raises(CorruptSegment, match=f"{path}.*hash"):
        home.reader.refresh("default")
    assert "generation 1 stays in use" in caplog.text
    assert home.contents() == {"a": ["old"]}
    home.store.delete(home.store.bucket, path)
    with pytest.raises(CorruptSegment, match="gone"):
        home.reader.refresh("default")
    home.store.put(home.store.bucket, path, good)
    assert home.reader.refresh("default")
    assert home.contents() == {"a": ["old"], "b": ["new"]}


@pytest.mark.parametrize("name", ["index.faiss", "rows.bin", "docs.npy", "offsets.npy", "meta.json"])
@pytest.mark.parametrize("truncate", [True, False])
def test_a_damaged_file_in_the_cache_is_fetched_again(home: House, name: str, truncate: bool) -> None:
    write(home.index, "b1", put("a", 1, "x", "y"), put("b", 2, "z"))
    home.index.build("default")
    home.reader.refresh("default")
    (path,) = home.cache.rglob(name)
    data = path.read_bytes()
    path.unlink()  # a mapped file is never changed in place
    path.write_bytes(data[: len(data) // 2] if truncate else data[:-1] + bytes([data[-1] ^ 1]))
    again = IndexReader(home.store, home.cache)
    assert again.refresh("default")
    assert dataclasses.replace(home, reader=again).contents() == {"a": ["x", "y"], "b": ["z"]}
    assert path.read_bytes() == data


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


def test_the_cache_holds_what_is_in_use(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    from runtime.index.cache import SegmentCache

    monkeypatch.setattr(SegmentCache.trim, "__defaults__", (-1.0,))
    for number in range(20):
        write(home.index, f"b{number}", put("k", number, f"content {number}"))
        home.index.build("default")
        home.reader.refresh("default")
    newest = manifest.newest(home.store, "default")
    assert newest is not None
    kept = {path.name for path in (home.cache / "default" / "segments").iterdir()}
    assert kept == {ref.segment for ref in newest.segments}
    assert home.contents() == {"k": ["content 19"]}


def test_readers_share_a_cache_with_the_builder(home: House, tmp_path: Path) -> None:
    write(home.index, "b1", put("a", 1, "x"))
    home.index.build("default")
    reader = IndexReader(home.store, tmp_path / "builder")
    newest = manifest.newest(home.store, "default")
    assert newest is not None
    home.store.delete(home.store.bucket, layout.segment("default", newest.segments[0].segment) + "index.faiss")
    assert reader.refresh("default"), "nothing had to be fetched"
