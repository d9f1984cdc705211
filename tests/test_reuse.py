"""What was embedded before is not embedded again: however batches are cut, whatever was lost, under whatever name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions import _models, _recall, _rows
from functions._extractor import Unreadable
from functions._outcome import EmbedResult
from functions._recall import Once
from functions._text import Text
from functions.embed_batch import embed_batch
from runtime.context import Chunking, Document, ObjectEvent
from runtime.testing import FakeModels, MemoryIndex, MemoryStore, fake_context
from tests import documents


class House:
    """A store with a bucket, an index, a model that counts."""

    def __init__(self) -> None:
        self.store, self.index, self.models = MemoryStore(), MemoryIndex(), FakeModels()

    def put(self, key: str, data: str | bytes) -> None:
        self.store.put("docs", key, data.encode() if isinstance(data, str) else data)

    def listed(self, *keys: str) -> list[ObjectEvent]:
        """As embed_all hands them out: with their etag, without a number."""
        return [ObjectEvent("docs", key, etag=self.store.head("docs", key).etag) for key in keys]

    def changed(self, *keys: str) -> list[ObjectEvent]:
        """As a bucket trigger hands them out."""
        return [ObjectEvent("docs", key, seq=self.index.next_seq("default")) for key in keys]

    def embed(self, objects: list[ObjectEvent], texts: list[Document] | None = None) -> EmbedResult:
        self.models.embedded.clear()
        context = fake_context("embed_batch", store=self.store, index=self.index, models=self.models)
        return embed_batch(texts, objects, context=context)

    def check(self) -> dict[str, str]:
        """The chunks of all documents that can be found; each must have the vector of its own text."""
        for rows, vectors, _ in self.index.batches.values():
            texts = [row.text for row in rows if row.op == "put"]
            assert np.allclose(vectors, FakeModels().embed(texts)) if texts else not len(vectors)
        winners = self.index.winners("default")
        return {key: " | ".join(row.text for row in rows) for (_, key), rows in winners.items()}


@pytest.fixture
def house() -> House:
    return House()


def essay(number: int, paragraphs: int = 40) -> str:
    return "\n\n".join(f"Part {part} of essay {number}. " + f"word{number}x{part} " * 60 for part in range(paragraphs))


def test_batches_that_are_cut_anew_embed_only_what_is_new(house: House) -> None:
    for number in range(1, 10):
        house.put(f"{number}.txt", f"text {number}")
    house.embed(house.listed(*(f"{number}.txt" for number in range(1, 6))))
    house.embed(house.listed(*(f"{number}.txt" for number in range(6, 10))))
    house.put("0.txt", "text 0")
    first = house.embed(house.listed(*(f"{number}.txt" for number in range(5))))
    assert house.models.embedded == ["text 0"]
    assert (first.documents, first.unchanged, first.count) == (5, 4, 1)
    assert (first.embedded_chunks, first.reused_chunks, first.reused) == (1, 0, False)
    second = house.embed(house.listed(*(f"{number}.txt" for number in range(5, 10))))
    assert house.models.embedded == []
    assert (second.documents, second.unchanged, second.embedded_chunks, second.reused) == (5, 5, 0, True)
    assert ("default", second.batch_id) in house.index.batches
    assert len(house.index.batches) == 3
    assert house.check() == {f"{number}.txt": f"text {number}" for number in range(10)}


def test_unchanged_objects_of_a_listing_are_not_even_read(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.put("a.txt", "apple")
    house.put("b.txt", "banana")
    house.embed(house.listed("a.txt", "b.txt"))
    house.put("b.txt", "blueberry")
    read: list[str] = []
    plain = house.store.get

    def get(bucket: str, key: str, **options: Any) -> Any:
        read.append(key)
        return plain(bucket, key, **options)

    monkeypatch.setattr(house.store, "get", get)
    result = house.embed(house.listed("a.txt", "b.txt"))
    assert (read, house.models.embedded, result.documents) == (["b.txt"], ["blueberry"], 2)


def test_an_edited_document_embeds_only_what_changed(house: House) -> None:
    house.put("a.md", essay(1))
    before = house.embed(house.changed("a.md"))
    house.put("a.md", essay(1).replace("word1x9 ", "some other ", 1))
    after = house.embed(house.changed("a.md"))
    assert after.count == before.count > 5
    assert 1 <= after.embedded_chunks == len(house.models.embedded) <= 2
    assert after.reused_chunks == after.count - after.embedded_chunks
    assert "other" in house.check()["a.md"]


def test_a_text_that_stands_twice_in_a_batch_is_embedded_once(house: House) -> None:
    house.put("a.txt", "the same")
    house.put("b.txt", "the same")
    house.put("c.txt", "another")
    result = house.embed(house.changed("a.txt", "b.txt", "c.txt"), [Document("the same", id="d")])
    assert sorted(house.models.embedded) == ["another", "the same"]
    assert (result.count, result.embedded_chunks, result.reused_chunks) == (4, 2, 2)
    assert house.check() == {"a.txt": "the same", "b.txt": "the same", "c.txt": "another", "d": "the same"}


def test_a_copy_and_a_renamed_object_are_not_extracted(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.put("old name.pdf", documents.pdf("A page of text."))
    house.embed(house.changed("old name.pdf"))
    monkeypatch.setattr(_rows, "read_text", _never)
    house.put("new/name.pdf", house.store.get("docs", "old name.pdf").data)
    house.store.delete("docs", "old name.pdf")
    gone = ObjectEvent("docs", "old name.pdf", "removed", seq=house.index.next_seq("default"))
    result = house.embed([*house.changed("new/name.pdf"), gone])
    assert (house.models.embedded, result.reused_chunks, result.failed) == ([], 1, [])
    assert house.check() == {"new/name.pdf": "A page of text."}
    [row] = house.index.winners("default")["docs", "new/name.pdf"]
    assert (row.meta["suffix"], row.key) == (".pdf", "new/name.pdf")


def test_the_same_bytes_under_another_suffix_are_read_in_its_own_way(house: House) -> None:
    house.put("page.html", "<p>apple</p>")
    house.embed(house.changed("page.html"))
    house.put("page.txt", "<p>apple</p>")
    house.embed(house.changed("page.txt"))
    assert house.models.embedded == ["<p>apple</p>"]
    assert house.check() == {"page.html": "apple", "page.txt": "<p>apple</p>"}


def test_a_document_that_failed_is_not_tried_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.put("bad.pdf", b"%PDF-1.4 nothing more")
    house.put("a.txt", "apple")
    before = house.embed(house.listed("bad.pdf", "a.txt"))
    monkeypatch.setattr(_rows, "read_text", _never)
    house.put("b.txt", "")
    for listing in (["bad.pdf"], ["a.txt", "bad.pdf"]):
        again = house.embed(house.listed(*listing))
        assert (again.failed, again.reused) == (before.failed, True)


def test_what_may_be_read_better_is_tried_thrice_and_when_somebody_asks(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of which the time allowed a part only: a listing has it read anew twice, then a replay does."""
    found = Text("apple", "pdf", notes=("only the first 1 of 9 pages were read: the time was up",), passing=True)
    reads: list[str] = []

    def read(name: str, *_: Any, **__: Any) -> Text:
        reads.append(name)
        return found

    monkeypatch.setattr(_rows, "read_text", read)
    house.put("a.pdf", b"a long document")
    for _ in range(5):
        result = house.embed(house.listed("a.pdf"))
        assert [one.notes for one in result.noted] == [list(found.notes)]
    assert (len(reads), result.unchanged) == (3, 1)
    copied = house.store.get("docs", "a.pdf").data
    house.put("b.pdf", copied)
    house.embed(house.listed("b.pdf"))
    assert len(reads) == 4, "another one is not taken for it"
    found = Text("apple | pear", "pdf")
    result = house.embed(house.changed("a.pdf"))
    assert (len(reads), result.noted) == (5, [])
    house.embed(house.listed("a.pdf"))
    house.embed(house.changed("a.pdf"))
    assert len(reads) == 5, "now it is whole"
    assert house.check() == {"a.pdf": "apple | pear", "b.pdf": "apple"}


def test_what_failed_and_may_not_the_next_time_is_tried_thrice(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[str] = []

    def read(name: str, *_: Any, **__: Any) -> Text:
        reads.append(name)
        raise Unreadable(f"{name} cannot be read as PDF: it took longer than 30 s to read.", passing=True)

    monkeypatch.setattr(_rows, "read_text", read)
    house.put("a.pdf", b"a long document")
    batches = [len(house.index.batches) for _ in range(5) if len(house.embed(house.listed("a.pdf")).failed) == 1]
    assert (len(reads), batches) == (3, [1, 2, 3, 3, 3])
    house.embed(house.changed("a.pdf"))
    assert len(reads) == 4


def test_texts_may_have_metadata_of_any_name(house: House) -> None:
    said = [Document("apple", id="a", meta={"failed": "once", "passing": "by"})]
    for _ in range(2):
        result = house.embed([], said)
        assert (result.failed, result.documents) == ([], 1)
    assert result.reused and house.models.embedded == []
    assert house.index.winners("default")["", "a"][0].meta == {"failed": "once", "passing": "by"}


def test_another_way_to_cut_texts_cuts_them_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.put("a.txt", essay(1))
    before = house.embed(house.listed("a.txt"))
    house.index.chunks = Chunking(100, 10)
    after = house.embed(house.listed("a.txt"))
    assert after.count > before.count
    assert after.embedded_chunks > 0
    house.index.chunks = Chunking()
    monkeypatch.setattr(_models, "CHUNKER_VERSION", "another")
    again = house.embed(house.listed("a.txt"))
    assert (again.unchanged, again.embedded_chunks, again.reused_chunks) == (0, 0, before.count)


def test_so_much_that_it_cannot_be_held_is_done_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.put("a.txt", "apple")
    house.put("b.txt", "banana")
    house.embed(house.listed("a.txt"))
    house.embed(house.listed("b.txt"))
    monkeypatch.setattr(_recall, "MOST", 300)
    house.embed(house.changed("a.txt", "b.txt"))
    assert house.models.embedded == ["banana"]
    assert house.check() == {"a.txt": "apple", "b.txt": "banana"}


def test_batches_of_earlier_releases_give_their_vectors(house: House) -> None:
    house.put("a.txt", "apple")
    house.put("b.txt", "banana")
    house.embed(house.listed("a.txt", "b.txt"))
    house.index.made.clear()
    result = house.embed(house.listed("a.txt"))
    assert (house.models.embedded, result.unchanged, result.reused_chunks) == ([], 0, 1)


def test_another_model_embeds_everything(house: House) -> None:
    house.put("a.txt", "apple")
    house.embed(house.listed("a.txt"))
    for place, (rows, vectors, _) in list(house.index.batches.items()):
        house.index.batches[place] = (rows, -vectors, "another model")
    house.index.made.clear()
    house.put("b.txt", "apple")
    house.embed(house.listed("b.txt"))
    assert house.models.embedded == ["apple"]


def test_a_lost_ledger_and_a_lost_broker_embed_nothing(house: House) -> None:
    keys = [f"{number}.txt" for number in range(6)]
    for key in keys:
        house.put(key, f"text of {key}")
    house.embed(house.changed(*keys[:3]))
    house.embed(house.changed(*keys[3:]))
    numbers = max(row.seq for rows, _, _ in house.index.batches.values() for row in rows)
    house.index._texts.clear()
    for some in (keys[:4], keys[4:]):
        result = house.embed(house.changed(*some))
        assert (house.models.embedded, result.documents, result.embedded_chunks) == ([], len(some), 0)
    newest = {row.seq for rows in house.index.winners("default").values() for row in rows}
    assert min(newest) > numbers, "what happened meanwhile under a lower number must not win"
    house.index._texts.clear()
    house.embed(house.listed(*keys[1:3]))
    assert house.models.embedded == []
    assert house.check() == {key: f"text of {key}" for key in keys}


def test_content_that_came_back_after_a_removal_is_written_with_its_new_number(house: House) -> None:
    house.put("a.txt", "apple")
    house.put("b.txt", "banana")
    house.embed(house.changed("a.txt", "b.txt"))
    house.store.delete("docs", "a.txt")
    house.embed([ObjectEvent("docs", "a.txt", "removed", seq=house.index.next_seq("default"))])
    house.put("a.txt", "apple")
    house.embed(house.listed("a.txt"))
    assert house.models.embedded == []
    assert house.check() == {"a.txt": "apple", "b.txt": "banana"}


@given(st.lists(st.tuples(st.lists(st.sampled_from("abcdefg"), max_size=6), st.booleans()), max_size=8))
def test_texts_go_through_the_model_once(parts: list[tuple[list[str], bool]]) -> None:
    """Whatever is added and taken back, every text gets its own vector."""

    class Plain:
        def __init__(self) -> None:
            self.texts: list[str] = []

        def __len__(self) -> int:
            return len(self.texts)

        def add(self, texts: Any) -> None:
            self.texts += texts

        def keep(self, count: int) -> None:
            del self.texts[count:]

        def vectors(self) -> Any:
            return np.array([[ord(text)] for text in self.texts], np.float32).reshape(-1, 1)

    plain = Plain()
    once = Once(plain, {"a": np.array([ord("a")], np.float32)})
    kept: list[str] = []
    for texts, stays in parts:
        once.add(texts)
        if stays:
            kept += texts
        else:
            once.keep(len(kept))
    assert len(once) == len(kept)
    assert once.vectors().ravel().tolist() == [ord(text) for text in kept]
    assert once.embedded == len(plain.texts) == len(set(kept) - {"a"})


def _never(*_: Any, **__: Any) -> Any:
    raise AssertionError("this content was read before")
