"""Reading: swapped while it is searched, kept when a load fails, repaired from the store."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import redis

from runtime.config.settings import StoreSettings
from runtime.errors import BadInput, CorruptSegment
from runtime.index import layout, manifest
from runtime.index.cache import SegmentCache
from runtime.index.search import SearchResult
from runtime.index.segment import Segment
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
    path = layout.beginning("default", newest.segments[-1].segment)
    good = home.store.get(home.store.bucket, path).data
    home.store.put(home.store.bucket, path, good[:-1] + b"\xff")
    with pytest.raises(CorruptSegment, match=f"{path}.*hash"):
        home.reader.refresh("default")
    assert "generation 1 answers" in caplog.text
    assert home.contents() == {"a": ["old"]}
    home.store.delete(home.store.bucket, path)
    with pytest.raises(CorruptSegment, match="gone"):
        home.reader.refresh("default")
    home.store.put(home.store.bucket, path, good)
    assert home.reader.refresh("default")
    assert home.contents() == {"a": ["old"], "b": ["new"]}


def test_a_slow_load_of_one_index_holds_up_no_other(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    other = next(name for name in map("other{}".format, range(99)) if hash(name) % 16 != hash("default") % 16)
    for name in ("default", other):
        write(home.index, "b1", put("a", 1, "x"), name=name)
        home.index.build(name)
    reached, go_on = threading.Event(), threading.Event()
    opened = SegmentCache.open

    def slow(cache: SegmentCache, index: str, sha: str) -> Segment:
        if index == "default":
            reached.set()
            assert go_on.wait(30)
        return opened(cache, index, sha)

    monkeypatch.setattr(SegmentCache, "open", slow)
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(home.reader.refresh, "default")
        try:
            assert reached.wait(30)
            assert home.reader.refresh(other)
        finally:
            go_on.set()
        assert loading.result()
