"""embed_all: every readable object once, in bounded batches, and one build."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from functions import embed_all as module
from functions.embed_all import embed_all
from functions.embed_batch import embed_batch
from runtime.context import Context, ObjectEvent
from runtime.errors import BadInput, ObjectMissing
from runtime.testing import FakeModels, MemoryCalls, MemoryIndex, MemoryStore, fake_context


def context(store: MemoryStore, index: MemoryIndex, models: FakeModels, calls: MemoryCalls) -> Context:
    def run_batch(objects: list[dict[str, Any]], index: str) -> dict[str, Any]:
        events = [ObjectEvent(**one) for one in objects]
        return asdict(embed_batch(None, events, index, context=made))

    made = fake_context("embed_all", store=store, index=index, models=models, calls=calls)
    calls.results = {"embed_batch": run_batch, "build_index": lambda index: asdict(made.index.build(index))}
    return made


def test_every_object_in_bounded_batches_then_one_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_OBJECTS", 10)
    store, index, models, calls = MemoryStore(), MemoryIndex(), FakeModels(), MemoryCalls()
    for number in range(25):
        store.put("documents", f"in/{number}.txt", f"text {number}".encode())
    store.put("documents", "in/empty.md", b"")
    store.put("documents", "in/photo.jpg", b"x")
    store.put("documents", "out/other.txt", b"other")
    store.put("documents", "in/folder/", b"")
    result = embed_all(prefix="in/", context=context(store, index, models, calls))
    assert (result.total_docs, result.failed, result.skipped, result.batches) == (25, 1, 1, 3)
    assert [function for function, _ in calls.submitted].count("build_index") == 1
    assert calls.submitted[-1] == ("build_index", {"index": "default"})
    assert [len(arguments["objects"]) for _, arguments in calls.submitted[:-1]] == [10, 10, 6]
    assert result.version == "00000001"
    assert result.docs_per_second == pytest.approx(25 / result.total_time, rel=0.5)


def test_large_objects_make_small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 1000)
    store, calls = MemoryStore(), MemoryCalls()
    for number, size in enumerate((400, 400, 400, 5000, 1)):
        store.put("documents", f"{number}.txt", b"x " * (size // 2) + b"y")
    embed_all(context=context(store, MemoryIndex(), FakeModels(), calls))
    assert [len(arguments["objects"]) for _, arguments in calls.submitted[:-1]] == [2, 1, 1, 1]


def test_a_second_run_embeds_nothing() -> None:
    store, index, models, calls = MemoryStore(), MemoryIndex(), FakeModels(), MemoryCalls()
    store.put("documents", "a.txt", b"apple")
    first = embed_all(context=context(store, index, models, calls))
    again = embed_all(context=context(store, index, models, calls))
    assert (first.total_docs, again.total_docs) == (1, 1)
    assert (models.embedded, len(index.batches)) == (["apple"], 1)


def test_what_a_batch_handed_on_is_waited_for() -> None:
    calls = MemoryCalls()
    store = MemoryStore()
    store.put("documents", "a.txt", b"apple")
    made = context(store, MemoryIndex(), FakeModels(), calls)
    rest = made.ports.calls.submit("rest", {})
    calls.results = {
        "embed_batch": {"documents": 1, "failed": [], "deferred_to": rest},
        "rest": {"documents": 2, "failed": [{}], "deferred_to": None},
        "build_index": {"version": "abc"},
    }
    result = embed_all(context=made)
    assert (result.total_docs, result.failed, result.version) == (3, 1, "abc")


def test_an_empty_bucket_builds_nothing() -> None:
    calls = MemoryCalls()
    result = embed_all(context=context(MemoryStore(), MemoryIndex(), FakeModels(), calls))
    assert (result.total_docs, result.batches, result.version, calls.submitted) == (0, 0, "", [])


def test_a_missing_bucket_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()

    def missing(*_: Any) -> Any:
        raise ObjectMissing

    monkeypatch.setattr(store, "list", missing)
    with pytest.raises(BadInput, match="There is no bucket nowhere"):
        embed_all("nowhere", context=context(store, MemoryIndex(), FakeModels(), MemoryCalls()))
