"""build_index, hot_swap, cleanup and stats, called as plain functions over the real ports."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import redis

from functions import cleanup as cleanup_module
from functions.build_index import build_index
from functions.cleanup import cleanup
from functions.compact_index import compact_index
from functions.hot_swap import hot_swap
from functions.stats import stats
from runtime import keys
from runtime.config.settings import StoreSettings
from runtime.context import Context, Parent, advice, urgency
from runtime.errors import BadInput, FunctionNotFound, StoreDenied
from runtime.index import manifest
from runtime.index.plan import MANY_SEGMENTS
from runtime.testing import MemoryCalls, MemoryIndex, MemoryStore, fake_context
from tests.indexing import House, fresh_store, house, put, write


@pytest.fixture
def home(store_settings: StoreSettings, redis_client: redis.Redis, tmp_path: Path) -> House:
    return house(fresh_store(store_settings), redis_client, tmp_path)


def context_of(home: House, *parents: Any) -> Context:
    made = [Parent(f"p{number}", "embed_batch", result) for number, result in enumerate(parents)]
    return fake_context(store=home.store, index=home.index, parents=made)


def test_build_index(home: House) -> None:
    write(home.index, "b1", put("a", 1, "x", "y"))
    result = build_index(context=context_of(home))
    assert (result.index, result.generation, result.published) == ("default", 1, True)
    assert (result.vectors, result.documents, result.warnings, result.also) == (2, 1, [], [])
    json.dumps(asdict(result))
    again = build_index(context=context_of(home))
    assert (again.generation, again.version, again.published) == (1, result.version, False)


def test_build_index_of_nothing(home: House) -> None:
    result = build_index(context=context_of(home))
    assert (result.generation, result.version, result.published, result.vectors) == (0, "", False, 0)
    assert "nothing was embedded for index default" in result.warnings[0]


def test_build_index_builds_what_its_parents_name(home: House) -> None:
    for name in ("left", "right", "default"):
        write(home.index, "b1", put(name, 1), name=name)
    parents = [{"index": "left", "count": 1}, {"index": "right"}, {"index": "left"}, None, [1], {"other": 1}]
    result = build_index(context=context_of(home, *parents))
    assert result.index == "left"
    assert [(build.index, build.published) for build in result.also] == [("right", True)]
    assert home.index.current("default") is None
    swapped = hot_swap(context=context_of(home, asdict(result)))
    assert [swapped.index, *(swap.index for swap in swapped.also)] == ["left", "right"]
    assert build_index("default", context=context_of(home, {"nothing": "named"})).index == "default"


def test_build_index_publishes_the_batches_that_its_parents_name() -> None:
    index = MemoryIndex()

    def named(*results: Any) -> list[str]:
        parents = [Parent("p", "embed_batch", result) for result in results]
        build_index(context=fake_context(index=index, parents=parents))
        return index.named

    one, two = {"index": "default", "batch_id": "one"}, {"index": "default", "batch_id": "two"}
    assert named(one, two, {"index": "other", "batch_id": "three"}) == ["three"], "the index that is built last"
    assert named({"index": "other", "batch_id": "three"}, one, two) == ["one", "two"]
    assert named() == []
    # Who says that something was written, but not what, makes the build look through all.
    for vague in (None, [1], {"index": "default"}, {**one, "also": [{"index": "default"}]}):
        assert named(one, vague) == []


def test_build_index_asks_for_a_compaction(caplog: pytest.LogCaptureFixture) -> None:
    index, calls = MemoryIndex(), MemoryCalls()
    context = fake_context(index=index, calls=calls)
    build_index(context=context)
    assert calls.submitted == []
    index.crowded = True
    build_index("other", context=context)
    assert calls.submitted == [("compact_index", {"index": "other"})]

    class NoSuchFunction(MemoryCalls):
        def submit(self, *_: Any, **__: Any) -> str:
            raise FunctionNotFound("compact_index")

    with caplog.at_level("INFO"):
        assert build_index(context=fake_context(index=index, calls=NoSuchFunction())).published
    assert "declares no compact_index" in caplog.text


def test_compact_index(home: House) -> None:
    context = context_of(home)
    nothing = compact_index(context=context)
    assert (nothing.published, nothing.segments, nothing.note) == (False, 0, "There is nothing to merge.")
    for number in range(MANY_SEGMENTS + 1):
        write(home.index, f"b{number}", put(f"k{number}", number + 1))
        home.index.build("default", [f"b{number}"])
    result = compact_index(context=context)
    assert (result.published, result.merged, result.segments, result.note) == (True, MANY_SEGMENTS + 1, 1, "")
    json.dumps(asdict(result))


def test_hot_swap(home: House, redis_client: redis.Redis) -> None:
    nothing = hot_swap(context=context_of(home))
    assert (nothing.generation, nothing.version, nothing.listeners) == (0, "", 0)
    write(home.index, "b1", put("a", 1))
    built = build_index(context=context_of(home))
    with redis_client.pubsub() as subscription:  # type: ignore[no-untyped-call]
        subscription.subscribe(keys.SWAP_CHANNEL)
        subscription.get_message(timeout=5)
        result = hot_swap(generation=1, context=context_of(home))
        assert (result.version, result.generation, result.listeners) == (built.version, 1, 1)
        message = subscription.get_message(ignore_subscribe_messages=True, timeout=5)
        assert message is not None
        told = json.loads(message["data"])
        named = {*told.pop("segments"), *told.pop("tombstones")}
        assert told == {"index": "default", "generation": 1, "version": built.version}
        current = manifest.newest(home.store, "default")
        assert current and named == current.parts, "for those who have none of it"
    with pytest.raises(BadInput, match="no generation 5"):
        hot_swap(generation=5, context=context_of(home))
    with pytest.raises(BadInput, match="left, right"):
        hot_swap(generation=1, context=context_of(home, {"index": "left"}, {"index": "right"}))


def test_cleanup(home: House) -> None:
    for name in ("left", "right"):
        write(home.index, "b1", put("a", 1), name=name)
        home.index.build(name)
    result = cleanup(context=context_of(home))
    assert sorted(result.indexes) == ["left", "right"]
    assert not any(result.removed.values())
    assert list(cleanup(0, override=True, index="left", context=context_of(home)).indexes) == ["left"]
    assert home.index.current("left") is not None


def test_cleanup_removes_old_results_and_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    for name in ("results/a", "arguments/a", "indexes/a"):
        store.put(store.bucket, name, b"x")
    made = fake_context(store=store)
    assert cleanup(context=made).removed == {"results": 0, "arguments": 0, "uploads": 0}
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 8 * 86_400)
    assert cleanup(context=made).removed == {"results": 1, "arguments": 0, "uploads": 0}
    monkeypatch.setattr(time, "time", lambda: now + 38 * 86_400)
    assert cleanup(context=made).removed == {"results": 0, "arguments": 1, "uploads": 0}
    assert [item.key for item in store.list(store.bucket)] == ["indexes/a"]


def test_cleanup_ends_uploads_that_broke_off(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    store: Any = home.store
    other, third = (fresh_store(store._settings).bucket for _ in range(2))
    for bucket in (store.bucket, other, third):
        store._client._create_multipart_upload(bucket, "ö/k+&.bin", {})
    named = (other, "no-such-bucket")
    assert cleanup(buckets=named, context=context_of(home)).removed["uploads"] == 0, "they are young"
    monkeypatch.setattr(cleanup_module, "UPLOAD_SECONDS", 0)
    assert "uploads" not in cleanup(index="default", buckets=named, context=context_of(home)).removed
    assert cleanup(buckets=named, context=context_of(home)).removed["uploads"] == 2
    assert cleanup(buckets=(), context=context_of(home)).removed["uploads"] == 0
    assert store.abort_uploads(third, 0) == 1, "that bucket was not named"


def test_cleanup_goes_on_where_uploads_may_not_be_ended(caplog: pytest.LogCaptureFixture) -> None:
    class Guarded(MemoryStore):
        def abort_uploads(self, bucket: str, older_than: float) -> int:
            if bucket == "documents":
                raise StoreDenied("not yours")
            return 3

    assert cleanup(context=fake_context(store=Guarded())).removed["uploads"] == 3
    assert "bucket documents" in caplog.text and "not yours" in caplog.text


@pytest.mark.parametrize("days", [6.99, 0, -1, float("nan")])
def test_cleanup_of_young_versions_must_be_meant(days: float) -> None:
    with pytest.raises(BadInput, match="retention_days"):
        cleanup(days, context=fake_context())
    if days < 0:
        with pytest.raises(BadInput, match="negative"):
            cleanup(days, override=True, context=fake_context())


def test_stats(home: House) -> None:
    empty = stats(context=context_of(home))
    assert (empty.generation, empty.vectors, empty.migration_urgency, empty.advice) == (0, 0, 0, "fine")
    assert empty.capacity is None
    write(home.index, "b1", put("a", 1, "x", "y"))
    built = home.index.build("default")
    result = stats(context=context_of(home))
    assert (result.version, result.generation, result.vectors, result.documents) == (built.version, 1, 2, 1)
    assert (result.dimensions, result.index_type, result.advice) == (16, "flat", "fine")
    assert result.memory_bytes > 2 * 16 * 4
    assert result.capacity and result.capacity.bytes_per_vector == result.memory_bytes / 2
    assert json.loads(json.dumps(asdict(result)))["capacity"]["next_step"].startswith("Nothing")


@pytest.mark.parametrize(
    ("vectors", "size", "level", "word"),
    [
        (0, 0, 0, "fine"),
        (349_999, 0, 69.9998, "fine"),
        (350_000, 0, 70, "plan"),
        (450_000, 0, 90, "plan"),
        (450_001, 0, 90.0002, "now"),
        (10_000_000, 0, 100, "now"),
        (0, 2**30, 50, "fine"),
        (1, 2**31, 100, "now"),
        (400_000, 2**30, 80, "plan"),
    ],
)
def test_urgency(vectors: int, size: int, level: float, word: str) -> None:
    assert urgency(vectors, size) == pytest.approx(level)
    assert advice(urgency(vectors, size)) == word


def test_the_functions_run_without_services() -> None:
    index = MemoryIndex()
    context = fake_context(index=index)
    assert build_index(context=context).generation == 1
    assert hot_swap(context=context).generation == 1
    assert index.announced == [("default", 1)]
    assert stats(context=context).generation == 1
    assert not any(cleanup(context=context).removed.values())
