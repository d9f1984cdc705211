"""embed_all: every readable object once, in bounded batches, and one build."""

from __future__ import annotations

from typing import Any

import pytest

from functions import _source_parts as module
from functions.embed_all import embed_all
from runtime.context import Context
from runtime.errors import BadInput, ObjectMissing
from runtime.testing import FakeModels, MemoryCalls, MemoryIndex, MemoryStore
from tests.sourcing import sourcing


def context(store: MemoryStore, index: MemoryIndex, models: FakeModels, calls: MemoryCalls) -> Context:
    return sourcing(store, index, models, calls).context


def test_every_object_in_bounded_batches_then_one_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_DOCUMENTS", 10)
    store, index, models, calls = MemoryStore(), MemoryIndex(), FakeModels(), MemoryCalls()
    for number in range(25):
        store.put("documents", f"in/{number}.txt", f"text {number}".encode())
    store.put("documents", "in/empty.md", b"")
    store.put("documents", "in/photo.jpg", b"x")
    store.put("documents", "out/other.txt", b"other")
    store.put("documents", "in/folder/", b"")
    made = sourcing(store, index, models, calls)
    result = embed_all(prefix="in/", context=made.context)
    assert (result.total_docs, result.failed, result.skipped, result.batches) == (25, 1, 1, 3)
    assert [function for function, _ in calls.submitted].count("build_index") == 1
    assert calls.submitted[-1] == ("build_index", {"index": "default"})
    assert [len(objects) for _, objects in made.parts] == [10, 10, 6]
    assert result.version == "00000001"
    assert result.docs_per_second == pytest.approx(25 / result.total_time, rel=0.5)


def test_large_objects_make_small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 1000)
    store, calls = MemoryStore(), MemoryCalls()
    for number, size in enumerate((400, 400, 400, 5000, 1)):
        store.put("documents", f"{number}.txt", b"x " * (size // 2) + b"y")
    made = sourcing(store, MemoryIndex(), FakeModels(), calls)
    embed_all(context=made.context)
    assert [len(objects) for _, objects in made.parts] == [2, 1, 1, 1]
    assert not list(store.list("tundish", "sources/")), "nothing is left"


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


def test_how_many_batches_are_out_at_a_time_can_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    gather = MemoryCalls.gather

    def noting(self: MemoryCalls, calls: Any, in_flight: int, **options: Any) -> list[tuple[str, Any]]:
        told.append(in_flight)
        return gather(self, calls, in_flight, **options)

    monkeypatch.setattr(MemoryCalls, "gather", noting)
    store = MemoryStore()
    store.put("documents", "a.txt", b"apple")
    embed_all(context=context(store, MemoryIndex(), FakeModels(), MemoryCalls()))
    embed_all(in_flight=2000, context=context(store, MemoryIndex(), FakeModels(), MemoryCalls()))
    assert [told[0], told[2]] == [8, 2000], "every second one is the build"
    with pytest.raises(BadInput, match=r"'in_flight' is how many .* 1 to 10000; found 0"):
        embed_all(in_flight=0, context=context(store, MemoryIndex(), FakeModels(), MemoryCalls()))


def test_which_objects_are_documents_can_be_said() -> None:
    store, calls = MemoryStore(), MemoryCalls()
    for key in ("a.py", "b.PY", "c.txt"):
        store.put("documents", key, b"text")
    made = sourcing(store, MemoryIndex(), FakeModels(), calls)
    result = embed_all(suffix=[".py"], context=made.context)
    assert [event.key for _, objects in made.parts for event in objects] == ["a.py", "b.PY"]
    assert result.skipped == 1


def test_where_nothing_is_found_that_is_told() -> None:
    store, calls = MemoryStore(), MemoryCalls()
    store.put("documents", "a.png", b"x")
    store.put("documents", "b.MD", b"text")
    made = sourcing(store, MemoryIndex(), FakeModels(), calls)
    assert embed_all(suffix=["md"], context=made.context).total_docs == 1, "a suffix may be said without its point"
    made = sourcing(store, MemoryIndex(), FakeModels(), calls)
    result = embed_all(suffix=["py", ".go"], context=made.context)
    assert result.problems == ["There is no document in the bucket documents; 2 objects are none of .go, .py."]
    made = sourcing(store, MemoryIndex(), FakeModels(), calls)
    result = embed_all(prefix="other/", context=made.context)
    assert (result.problems, result.failed) == (["There is no document under other/ in the bucket documents."], 0)


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
