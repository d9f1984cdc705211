"""embed_batch: what it writes, that twice is once, that the newest wins, and that one bad document harms no other."""

from __future__ import annotations

import random
import time
from typing import Any

import numpy as np
import pytest

from functions import _extractor, _members
from functions._outcome import EmbedResult
from functions.embed_batch import embed_batch
from runtime.context import Document, ObjectEvent, StoredObject
from runtime.errors import BadInput, CorruptBatch, StoreDown
from runtime.testing import FakeModels, MemoryCalls, MemoryIndex, MemoryStore, fake_context
from tests import documents
from tests.turns import turns_of


class House:
    """A store with a bucket, an index, a model; and the ways to use them."""

    def __init__(self) -> None:
        self.store, self.index, self.models, self.calls = MemoryStore(), MemoryIndex(), FakeModels(), MemoryCalls()
        self.deadline: float | None = None

    def put(self, key: str, data: str | bytes) -> str:
        return self.store.put("docs", key, data.encode() if isinstance(data, str) else data)

    def event(self, key: str, **fields: Any) -> ObjectEvent:
        """A change of a key, numbered as the trigger does it."""
        return ObjectEvent("docs", key, seq=self.index.next_seq("default"), **fields)

    def embed(self, *objects: ObjectEvent, texts: list[Document] | None = None) -> EmbedResult:
        context = fake_context(
            "embed_batch",
            store=self.store,
            index=self.index,
            models=self.models,
            calls=self.calls,
            deadline=self.deadline,
        )
        return embed_batch(texts, list(objects), context=context)

    def found(self) -> dict[str, str]:
        """Key → text of all documents that a search could return."""
        winners = self.index.winners("default")
        return {key: " | ".join(row.text for row in rows) for (_, key), rows in winners.items()}


def words(count: int) -> str:
    """A text of so many words, none of them twice."""
    return " ".join(f"word{number}" for number in range(count))


@pytest.fixture
def house() -> House:
    return House()


def test_rows_say_where_they_come_from(house: House) -> None:
    text = "\n\n".join(f"Paragraph {n} " + "speaks of rivers. " * 40 for n in range(8))
    etag = house.put("a b/größe+1.md", text)
    event = house.event("a b/größe+1.md")
    result = house.embed(event)
    rows, vectors = house.index.read_batch("default", result.batch_id) or ([], np.zeros(0))
    assert result.path == f"embeddings/default/batches/{result.batch_id}/"
    assert (result.count, result.documents, result.failed, result.reused) == (len(rows), 1, [], False)
    assert len(rows) > 3
    assert vectors.shape == (len(rows), 64)
    for number, row in enumerate(rows):
        assert (row.bucket, row.key, row.etag, row.seq, row.chunk) == ("docs", event.key, etag, event.seq, number)
        assert row.text == text[row.start : row.end]
        assert row.meta["suffix"] == ".md"
    assert np.allclose(vectors, FakeModels().embed([row.text for row in rows]))


def test_rows_say_what_the_store_says_of_the_object(house: House) -> None:
    house.store.put("docs", "a.md", b"# Rivers", content_type="text/markdown", metadata={"lang": "en", "year": "2024"})
    before = house.store.head("docs", "a.md").modified
    result = house.embed(house.event("a.md"), texts=[Document("apple", id="fruit", meta={"lang": "de"})])
    rows, _ = house.index.read_batch("default", result.batch_id) or ([], None)
    found = {row.key: row.meta for row in rows}
    own = {"lang": "en", "year": "2024"}
    assert found["a.md"].pop("title", "Rivers") == "Rivers"
    assert found["a.md"].pop("headings") == ["Rivers"]
    found["a.md"].pop("language", None)
    assert found["a.md"] == {"content_type": "text/markdown", "modified": before, "metadata": own, "suffix": ".md"}
    assert found["fruit"] == {"lang": "de"}


def test_metadata_beyond_what_s3_takes_are_left_out() -> None:
    kept = _members._bounded({"b": "x" * 1500, "a": "x" * 500, "c": "x" * 500})
    assert {name: len(value) for name, value in kept.items()} == {"a": 500, "b": 1500}


def test_content_that_comes_back_has_the_metadata_of_now(house: House) -> None:
    for text, lang in (("apple", "en"), ("banana", "en"), ("apple", "de")):
        house.store.put("docs", "a.md", text.encode(), metadata={"lang": lang})
        house.embed(house.event("a.md"), texts=[Document(text, id="fruit", meta={lang: text})])
    assert house.models.embedded == ["apple", "banana"], "the same text is embedded once, be it of two documents"
    winners = house.index.winners("default")
    (row,), (called,) = winners["docs", "a.md"], winners["", "fruit"]
    assert (row.text, row.meta["metadata"], row.meta["suffix"]) == ("apple", {"lang": "de"}, ".md")
    assert row.meta["modified"] == house.store.head("docs", "a.md").modified
    assert (called.text, called.meta) == ("apple", {"de": "apple"})


def test_twice_changes_nothing(house: House) -> None:
    house.put("a.txt", "one")
    house.put("b.txt", "two")
    events = house.event("a.txt"), house.event("b.txt")
    first = house.embed(*events)
    again = house.embed(*reversed(events))
    assert (again.path, again.count, again.reused) == (first.path, first.count, True)
    assert (len(house.index.batches), len(house.models.embedded)) == (1, 2)


def test_the_result_names_the_batch_that_was_written(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its name is in use for older numbers, the index gives it another one; a build is told of that one."""
    plain = house.index.write_batch

    def write_batch(index: str, batch_id: str, *rest: Any) -> str:
        return plain(index, f"{batch_id}-7", *rest)

    monkeypatch.setattr(house.index, "write_batch", write_batch)
    house.put("a.txt", "one")
    result = house.embed(house.event("a.txt"))
    assert [name for _, name in house.index.batches] == [result.batch_id]
    assert result.path.endswith("-7/")


def test_content_that_comes_back_wins_without_embedding(house: House) -> None:
    house.put("a.txt", "apple")
    first = house.event("a.txt")
    house.embed(first)
    house.put("a.txt", "banana")
    house.embed(house.event("a.txt"))
    house.put("a.txt", "apple")
    third = house.event("a.txt")
    result = house.embed(third)
    assert house.found() == {"a.txt": "apple"}
    assert not result.reused
    assert house.models.embedded == ["apple", "banana"]
    assert house.embed(third).reused
    assert house.embed(first).reused
    assert len(house.index.batches) == 3


@pytest.mark.parametrize("seed", range(40))
def test_any_mix_of_ways_ends_with_what_is_stored(house: House, seed: int) -> None:
    """Events with numbers, by hand without; doubled, late, of any batch size: the store's content wins."""
    dice = random.Random(seed)
    pending: list[ObjectEvent] = []
    stored: dict[str, str] = {}
    for _ in range(40):
        key = dice.choice(["a.txt", "b.txt"])
        if dice.random() < 0.25:
            house.store.delete("docs", key)
            stored.pop(key, None)
            pending.append(house.event(key, event="removed"))
        else:
            stored[key] = dice.choice(["apple", "banana", "cherry"])
            house.put(key, stored[key])
            pending.append(house.event(key))
        if dice.random() < 0.3:
            house.embed(ObjectEvent("docs", key))
        while pending and dice.random() < 0.6:
            some = dice.sample(pending, min(len(pending), dice.choice([1, 2])))
            house.embed(*some)
            if dice.random() < 0.7:  # else it is delivered again
                pending = [event for event in pending if event not in some]
        if not pending:
            assert house.found() == stored
    for event in reversed(pending):
        house.embed(event)
    assert house.found() == stored


def test_without_numbers_twice_changes_nothing_and_the_last_wins(house: House) -> None:
    house.put("a.txt", "apple")
    event = ObjectEvent("docs", "a.txt")
    assert not house.embed(event).reused
    assert house.embed(event).reused
    house.put("a.txt", "banana")
    house.embed(event)
    house.put("a.txt", "apple")
    assert not house.embed(event).reused
    assert house.found() == {"a.txt": "apple"}
    assert house.embed(event).reused
    assert house.models.embedded == ["apple", "banana"]


def test_removed_and_missing_objects_leave(house: House) -> None:
    for key in ("a.txt", "b.txt", "c.txt"):
        house.put(key, key)
        house.embed(house.event(key))
    house.store.delete("docs", "a.txt")
    house.store.delete("docs", "b.txt")
    result = house.embed(house.event("a.txt", event="removed"), house.event("b.txt"))
    assert (result.count, result.failed) == (0, [])
    assert house.found() == {"c.txt": "c.txt"}


def test_what_was_another_one_when_it_was_read_is_told(house: House) -> None:
    for key in ("same.txt", "other.txt", "gone.txt"):
        house.put(key, key)
    names = ("same.txt", "other.txt", "gone.txt")
    events = [house.event(key, etag=house.store.head("docs", key).etag) for key in names]
    house.put("other.txt", "changed")
    house.store.delete("docs", "gone.txt")
    etag = house.store.head("docs", "other.txt").etag
    for _ in range(2):  # also when the batch is there already
        told = house.embed(*events).read
        assert [(one.key, one.etag) for one in told] == [("other.txt", etag), ("gone.txt", "")]
    assert house.embed(ObjectEvent("docs", "same.txt")).read == [], "nobody said what it should be"


def test_a_missing_object_named_by_hand_is_reported(house: House) -> None:
    house.embed(house.event("gone.txt", event="removed"))
    [failure] = house.embed(ObjectEvent("docs", "gone.txt")).failed
    assert failure.reason == "There is no object gone.txt in the bucket docs. Check both names."


def test_bad_documents_are_named_and_harm_no_other(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.put("good.pdf", documents.pdf("Good."))
    house.put("noise.pdf", b"%PDF-1.4" + random.Random(1).randbytes(9000))
    house.put("locked.pdf", documents.pdf("secret", password="x"))
    house.put("empty.txt", b"")
    house.put("bomb.docx", documents.bomb(200))
    house.put("good.txt", "Also good.")
    keys = ("noise.pdf", "good.pdf", "locked.pdf", "empty.txt", "bomb.docx", "good.txt")
    events = [house.event(key) for key in keys]
    result = house.embed(*events)
    assert {failure.key for failure in result.failed} == {"noise.pdf", "locked.pdf", "empty.txt", "bomb.docx"}
    assert all(failure.reason.startswith(failure.key) and failure.etag for failure in result.failed)
    assert result.documents == 2
    assert sorted(house.found()) == ["good.pdf", "good.txt"]
    assert len([record for record in caplog.records if "left out" in record.message]) == 4
    assert house.embed(*events).failed == result.failed


def test_an_overwritten_object_that_became_unreadable_leaves(house: House) -> None:
    house.put("a.txt", "readable")
    house.embed(house.event("a.txt"))
    house.put("a.txt", b"")
    result = house.embed(house.event("a.txt"))
    assert (result.count, len(result.failed)) == (0, 1)
    assert house.found() == {}


def test_a_failure_that_may_pass_is_tried_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.put("a.pdf", documents.pdf("Slow."))
    event = house.event("a.pdf")
    real = _extractor.Extractor.extract

    def slow(*_: Any, **__: Any) -> Any:
        raise _extractor.Unreadable("it took longer than 30 s to read", passing=True)

    monkeypatch.setattr(_extractor.Extractor, "extract", slow)
    for _ in range(2):
        assert "longer than" in house.embed(event).failed[0].reason
    monkeypatch.setattr(_extractor.Extractor, "extract", real)
    assert house.embed(event).failed == []
    assert house.found() == {"a.pdf": "Slow."}
    assert house.embed(event).reused


def test_texts_without_an_id_are_named_by_their_content(house: House) -> None:
    first = house.embed(texts=[Document("apple", meta={"lang": "en"}), Document("apple"), Document("banana")])
    assert (first.count, first.documents) == (2, 2)
    assert house.embed(texts=[Document("banana"), Document("apple")]).reused
    assert sorted(house.found().values()) == ["apple", "banana"]


def test_texts_with_an_id_are_replaced(house: House) -> None:
    for text in ("apple", "banana", "apple"):
        assert not house.embed(texts=[Document(text, id="fruit")]).reused
        assert house.found() == {"fruit": text}
    assert house.embed(texts=[Document("apple", id="fruit")]).reused
    assert house.models.embedded == ["apple", "banana"]


def test_a_text_leaves_by_its_id(house: House) -> None:
    house.embed(texts=[Document("apple", id="fruit"), Document("oak", id="tree")])
    result = house.embed(ObjectEvent("", "fruit", "removed"))
    assert result.failed == []
    assert house.found() == {"tree": "oak"}


def test_blank_and_broken_texts(house: House) -> None:
    result = house.embed(texts=[Document("  ", id="blank"), Document("half \ud800 pair", id="half")])
    assert [failure.key for failure in result.failed] == ["blank"]
    assert house.found() == {"half": "half \ufffd pair"}


def test_nothing_to_embed(house: House) -> None:
    with pytest.raises(BadInput, match="nothing to embed"):
        house.embed()


def test_a_store_that_is_down_is_not_a_bad_document(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*_: Any, **__: Any) -> StoredObject:
        raise StoreDown

    monkeypatch.setattr(house.store, "get", down)
    with pytest.raises(StoreDown):
        house.embed(house.event("a.txt"))


def test_a_damaged_batch_is_written_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.put("a.txt", "apple")
    event = house.event("a.txt")
    house.embed(event)

    def damaged(*_: Any) -> Any:
        raise CorruptBatch

    monkeypatch.setattr(house.index, "read_batch", damaged)
    monkeypatch.setattr(house.index, "kept", lambda *_: iter(()))
    assert not house.embed(event).reused


def test_small_documents_share_the_passes_of_the_model(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    turns_of(monkeypatch, 4)
    passes: list[int] = []
    plain = house.models.embed

    def embed(texts: Any) -> Any:
        passes.append(len(texts))
        return plain(texts)

    monkeypatch.setattr(house.models, "embed", embed)
    for number in range(9):
        house.put(f"{number}.txt", f"text {number}")
    house.put("bad.txt", b"")
    house.put("long.txt", words(254 * 5))
    order = ["0.txt", "bad.txt", *(f"{number}.txt" for number in range(1, 5)), "long.txt", "5.txt", "6.txt", "7.txt"]
    result = house.embed(*(house.event(key) for key in [*order, "8.txt"]))
    assert [failure.key for failure in result.failed] == ["bad.txt"]
    assert passes[:-1] == [4] * (result.count // 4)
    rows, vectors = house.index.read_batch("default", result.batch_id) or ([], np.zeros(0))
    texts = [row.text for row in rows if row.op == "put"]
    assert len(texts) == result.count > 9
    assert np.allclose(vectors, FakeModels().embed(texts)), "each row has its own vector"


def test_running_out_of_time_keeps_what_was_read_before(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small documents that wait for a full pass are embedded, a long one behind them is handed on whole."""
    now = [1000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    turns_of(monkeypatch, 4)
    house.deadline = now[0] + 100
    plain = house.models.embed

    def embed(texts: Any) -> Any:
        now[0] += 40
        return plain(texts)

    monkeypatch.setattr(house.models, "embed", embed)
    for key in "abc":
        house.put(f"{key}.txt", key)
    house.put("long.txt", words(254 * 20))
    result = house.embed(*(house.event(f"{key}.txt") for key in ("a", "b", "c", "long")))
    assert (result.documents, [left.key for left in result.deferred]) == (3, ["long.txt"])
    rows, vectors = house.index.read_batch("default", result.batch_id) or ([], np.zeros(0))
    assert [row.text for row in rows] == ["a", "b", "c"]
    assert np.allclose(vectors, FakeModels().embed(["a", "b", "c"]))


def test_what_does_not_fit_into_the_time_is_handed_on(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    house.deadline = now[0] + 100
    plain = house.models.embed

    def embed(texts: Any) -> Any:
        now[0] += 40
        return plain(texts)

    monkeypatch.setattr(house.models, "embed", embed)
    turns_of(monkeypatch, 1)
    for key in "abcd":
        house.put(f"{key}.txt", key)
    result = house.embed(*(house.event(f"{key}.txt") for key in "abcd"))
    assert (result.documents, result.deferred_to) == (2, "call-1")
    assert [left.key for left in result.deferred] == ["c.txt", "d.txt"]
    [(function, arguments)] = house.calls.submitted
    assert function == "embed_batch"
    assert [one["key"] for one in arguments["objects"]] == ["c.txt", "d.txt"]
    house.deadline = now[0] + 100
    house.embed(*(ObjectEvent(**one) for one in arguments["objects"]))
    assert house.found() == {f"{key}.txt": key for key in "abcd"}


def test_a_document_that_no_invocation_has_time_for_fails(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    house.deadline = now[0] + 100
    plain = house.models.embed

    def embed(texts: Any) -> Any:
        now[0] += 50
        return plain(texts)

    monkeypatch.setattr(house.models, "embed", embed)
    house.put("long.txt", words(254 * 2000))
    [failure] = house.embed(house.event("long.txt")).failed
    assert "long.txt is too long to be embedded within the function's time limit" in failure.reason
