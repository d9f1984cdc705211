"""migrate_index, and what the other functions do about an index of another model."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import redis

from functions.build_index import build_index
from functions.embed_batch import embed_batch
from functions.migrate_index import STEP_SECONDS, migrate_index
from runtime.config.settings import StoreSettings
from runtime.context import Context, Document
from runtime.errors import BadInput, FunctionNotFound
from runtime.index import batches, layout
from runtime.testing import MemoryCalls, MemoryProgress, fake_context
from tests.indexing import House, fresh_store, house, put, write
from tests.migrating import OLD, OtherModels, contents, pair


@pytest.fixture
def home(store_settings: StoreSettings, redis_client: redis.Redis, tmp_path: Path) -> House:
    return house(fresh_store(store_settings), redis_client, tmp_path)


def context_of(home: House, models: OtherModels, calls: MemoryCalls | None = None, **fields: Any) -> Context:
    fields = {"function": "migrate_index", **fields}
    return fake_context(store=home.store, index=home.index, models=models, calls=calls, **fields)


def test_step_by_step(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        write(home.index, f"b{number}", put(f"k{number}", number + 1))
    home.index.build("default")
    big, small = pair()
    calls, seen = MemoryCalls(), MemoryProgress()
    now = [0.0]
    monkeypatch.setattr("functions.migrate_index.time.monotonic", lambda: now[0])

    def later() -> None:
        now[0] += STEP_SECONDS + 1

    small.before = later
    first = migrate_index(model="small", context=context_of(home, big, calls, report=seen))
    assert (first.state, first.done, first.total) == ("running", 1, 3)
    assert calls.submitted == [("migrate_index", {"index": "default", "model": "small", "run": "test"})]
    assert seen.seen == [(0, 3, "batches in small"), (1, 3, "batches in small")]
    for _ in range(2):
        last = migrate_index(**calls.submitted[-1][1], context=context_of(home, big, calls))
    assert (last.state, last.done, len(calls.submitted)) == ("done", 3, 2)
    assert contents(home, 8) == {f"k{number}": [f"k{number} at {number + 1}"] for number in range(3)}


def test_a_call_that_is_stopped_asks_for_no_other(home: House) -> None:
    write(home.index, "b1", put("a", 1), put("b", 2))
    home.index.build("default")
    big, _ = pair()
    calls = MemoryCalls()
    step = migrate_index(model="small", context=context_of(home, big, calls, stop_asked=lambda: True))
    assert (step.state, calls.submitted) == ("running", [])


def test_an_unknown_model(home: House) -> None:
    with pytest.raises(BadInput, match="no model medium"):
        migrate_index(model="medium", context=context_of(home, pair()[0]))


def test_documents_take_the_model_of_their_index(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.index.port.MODEL_SECONDS", -1.0)
    big, small = pair()
    first = embed_batch([Document("one", "1")], context=context_of(home, big))
    assert home.index.build("default", [first.batch_id]).published, "a new index takes the default model"
    migrate_index(model="small", context=context_of(home, big))
    embedded = small.embedded
    again = embed_batch([Document("one", "1")], context=context_of(home, big))
    assert (again.reused, again.batch_id, small.embedded) == (True, first.batch_id, embedded), "it was embedded already"
    assert again.path.startswith("embeddings/default/")
    embed_batch([Document("two", "2")], context=context_of(home, big))
    home.index.build("default")
    assert contents(home, 8) == {"1": ["one"], "2": ["two"]}


def test_a_batch_during_the_switch_is_there_in_both(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.index.port.MODEL_SECONDS", -1.0)
    big, small = pair()
    embed_batch([Document("one", "1")], context=context_of(home, big))
    home.index.build("default")

    def switch() -> None:
        big.before = lambda: None
        migrate_index(model="small", context=context_of(home, OtherModels(OLD, 16, small)))

    big.before = switch
    result = embed_batch([Document("two", "2")], context=context_of(home, big))
    report = home.index.build("default", [result.batch_id])
    assert (report.published, report.late) == (True, 0)
    assert contents(home, 8) == {"1": ["one"], "2": ["two"]}
    for space in ("default", layout.shadow("default", "small")):
        assert result.batch_id in batches.listing(home.store, space)


def test_a_build_has_late_batches_embedded_again(home: House) -> None:
    big, _ = pair()
    write(home.index, "b1", put("a", 1))
    home.index.build("default")
    migrate_index(model="small", context=context_of(home, big))
    write(home.index, "late", put("b", 2))
    calls = MemoryCalls()
    build_index(context=context_of(home, big, calls))
    assert calls.submitted == [("migrate_index", {"index": "default"})]
    migrate_index(**calls.submitted[0][1], context=context_of(home, big))
    assert sorted(contents(home, 8)) == ["a", "b"]

    class Nobody(MemoryCalls):
        def submit(self, function: str, arguments: Any, **_: Any) -> str:
            raise FunctionNotFound(f"There is no function {function}.")

    write(home.index, "later", put("c", 3))
    fresh = house(home.store, home.index._client, home.cache.parent / "fresh")
    assert asdict(build_index(context=context_of(fresh, big, Nobody())))["warnings"] == []


def test_what_a_new_index_takes(home: House, tmp_path: Path) -> None:
    from runtime.index.port import FaissIndex

    big, small = pair()
    named = FaissIndex(home.store, home.index._client, tmp_path / "named", fresh=lambda index: "small")
    embed_batch([Document("one", "1")], context=fake_context(index=named, models=big, store=home.store))
    named.build("default")
    assert (named.current("default") or pytest.fail()).model == "small"
    assert small.embedded == 1
