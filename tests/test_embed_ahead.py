"""Objects are read while others are embedded: in bounds, in order, and what they are by then decides."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import combinations
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions import _ahead, _members, _passes
from functions._ahead import ahead, all_read
from functions._members import Member, gather
from functions._outcome import EmbedResult
from functions._passes import Passes, alike
from functions.embed_batch import embed_batch
from runtime.context import ObjectEvent
from runtime.errors import BadInput, StoreDown
from runtime.testing import FakeModels, MemoryIndex, MemoryStore, fake_context
from tests.system import until
from tests.turns import turns_of


class House:
    """A bucket, an index and a model; events say etag and size, as a trigger does."""

    def __init__(self) -> None:
        self.store, self.index, self.models = MemoryStore(), MemoryIndex(), FakeModels()

    def put(self, key: str, text: str) -> ObjectEvent:
        etag = self.store.put("docs", key, text.encode())
        return ObjectEvent("docs", key, etag=etag, size=len(text.encode()), seq=self.index.next_seq("default"))

    def members(self, *events: ObjectEvent) -> list[Member]:
        return gather((), events, "default", self.index, self.store)

    def embed(self, *events: ObjectEvent) -> EmbedResult:
        context = fake_context("embed_batch", store=self.store, index=self.index, models=self.models)
        return embed_batch(None, list(events), context=context)

    def texts(self, name: str) -> dict[str, str]:
        rows, vectors = self.index.read_batch("default", name) or ([], np.zeros(0))
        put = [row for row in rows if row.op == "put"]
        assert np.allclose(vectors, FakeModels().embed([row.text for row in put])), "each row has its own vector"
        return {row.key: row.text for row in rows}


@pytest.fixture
def house() -> House:
    return House()


def test_every_member_comes_in_order_and_read(house: House) -> None:
    members = house.members(*(house.put(f"{number}.txt", f"text {number}") for number in range(300)))
    assert all(member.unread for member in members)
    read = list(ahead(members))
    assert [member.key for member in read] == [member.key for member in members]
    assert [member.data for member in read] == [f"text {number}".encode() for number in range(300)]
    assert not any(member.unread for member in read)
    assert not all_read(members)


def test_only_what_must_be_read_at_once_takes_a_thread(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    told = [house.put(f"{number}.txt", f"text {number}") for number in range(40)]
    asked: list[ObjectEvent] = []
    plain = ThreadPoolExecutor.submit

    def submit(pool: ThreadPoolExecutor, work: Any, numbered: tuple[ObjectEvent, int]) -> Any:
        asked.append(numbered[0])
        return plain(pool, work, numbered)

    monkeypatch.setattr(_members, "ThreadPoolExecutor", type("Pool", (ThreadPoolExecutor,), {"submit": submit}))
    assert all(member.unread for member in house.members(*told)) and not asked

    told[9:11] = [replace(event, etag=None) for event in told[9:11]]  # in one group of four
    told[30] = replace(told[30], etag=None)  # alone in its group
    members = house.members(*told)
    assert [member.key for member in members] == [f"{number}.txt" for number in range(40)]
    assert [number for number, member in enumerate(members) if member.data] == [9, 10, 30]
    assert asked == told[8:12]


@pytest.mark.parametrize(("sizes", "most"), [([10] * 20, 5), ([60, 60, 10, 10, 100, 500, 1], 100)])
def test_what_is_read_ahead_has_bounds(
    house: House, monkeypatch: pytest.MonkeyPatch, sizes: list[int], most: int
) -> None:
    monkeypatch.setattr(_ahead, "OBJECTS", 5)
    monkeypatch.setattr(_ahead, "BYTES", 100)
    asked: list[str] = []
    plain = house.store.get

    def get(bucket: str, key: str, **more: Any) -> Any:
        asked.append(key)
        return plain(bucket, key, **more)

    monkeypatch.setattr(house.store, "get", get)
    members = house.members(*(house.put(f"{number}.txt", "x" * size) for number, size in enumerate(sizes)))
    for done, _ in enumerate(reading := ahead(members)):
        held = sizes[done:][: max(0, len(set(asked)) - done)]
        assert len(held) <= 6
        assert sum(held[1:]) <= 100 or len(held) <= 2
        if done == 3:
            break
    reading.close()
    assert len(asked) < len(sizes)


def test_small_objects_are_read_in_few_trips(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large one is read alone, one that has grown or gone since once more by itself. Order and content are kept."""
    texts = {f"{number}.txt": f"text {number}" for number in range(70)} | {"large.txt": "large " * 20_000}
    trips: list[list[str]] = []
    alone: list[str] = []
    plain_many, plain_get = house.store.get_many, house.store.get

    def get_many(bucket: str, keys: Sequence[str], **more: Any) -> Any:
        trips.append(list(keys))
        return plain_many(bucket, keys, **more)

    def get(bucket: str, key: str, **more: Any) -> Any:
        alone.append(key)
        return plain_get(bucket, key, **more)

    members = house.members(*(house.put(key, text) for key, text in texts.items()))
    house.store.put("docs", "30.txt", b"grown " * 20_000)
    house.store.delete("docs", "31.txt")
    monkeypatch.setattr(house.store, "get_many", get_many)
    monkeypatch.setattr(house.store, "get", get)
    read = {member.key: member for member in ahead(members)}
    assert list(read) == list(texts)
    assert sorted(key for trip in trips for key in trip) == sorted(texts.keys() - {"large.txt"})
    assert len(trips) == 5
    assert sorted(alone) == ["30.txt", "31.txt", "large.txt"]
    assert read["31.txt"].op == "delete"
    wanted = texts | {"30.txt": "grown " * 20_000, "31.txt": ""}
    assert {key: member.data.decode() for key, member in read.items()} == wanted


@pytest.mark.parametrize(("count", "largest"), [(40, 16), (80, 20), (300, 32)])
def test_the_more_objects_the_more_of_them_in_a_trip(
    house: House, monkeypatch: pytest.MonkeyPatch, count: int, largest: int
) -> None:
    sizes: list[int] = []
    plain = house.store.get_many

    def get_many(bucket: str, keys: Sequence[str], **more: Any) -> Any:
        sizes.append(len(keys))
        return plain(bucket, keys, **more)

    members = house.members(*(house.put(f"{number}.txt", f"text {number}") for number in range(count)))
    monkeypatch.setattr(house.store, "get_many", get_many)
    assert [member.key for member in ahead(members)] == [f"{number}.txt" for number in range(count)]
    assert max(sizes) == largest and sum(sizes) == count


def test_reading_goes_on_while_the_model_computes(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    turns_of(monkeypatch, 2)
    computing, asked = threading.Event(), set[str]()
    plain_get, plain_embed = house.store.get_many, house.models.embed

    def get_many(bucket: str, keys: Sequence[str], **more: Any) -> Any:
        asked.update(keys)
        return plain_get(bucket, keys, **more)

    def embed(texts: Any) -> Any:
        if not computing.is_set():
            computing.set()
            until(lambda: len(asked) >= 40, "more objects are read during the first turn than went into it")
        return plain_embed(texts)

    monkeypatch.setattr(house.store, "get_many", get_many)
    monkeypatch.setattr(house.models, "embed", embed)
    result = house.embed(*(house.put(f"{number}.txt", f"text {number}") for number in range(41)))
    assert house.texts(result.batch_id) == {f"{number}.txt": f"text {number}" for number in range(41)}


def test_what_is_there_by_then_counts(house: House) -> None:
    """The batch is named by what was read, not by what the events said."""
    events = [house.put(f"{number}.txt", f"text {number}") for number in range(4)]
    house.store.put("docs", "1.txt", b"another text")
    house.store.delete("docs", "2.txt")
    result = house.embed(*events)
    assert house.texts(result.batch_id) == {"0.txt": "text 0", "1.txt": "another text", "2.txt": "", "3.txt": "text 3"}
    assert [(one.key, bool(one.etag)) for one in result.read] == [("1.txt", True), ("2.txt", False)]
    calm = House()
    same = [calm.put(key, text) for key, text in (("0.txt", "text 0"), ("1.txt", "another text"), ("3.txt", "text 3"))]
    assert calm.embed(*same, ObjectEvent("docs", "2.txt", "removed", seq=9)).batch_id == result.batch_id
    assert house.embed(*events).reused
    assert len(house.models.embedded) == 3


def test_a_batch_that_is_there_is_not_taken_on_trust(house: House) -> None:
    """The same events again, of which one is late: another content is there by now."""
    events = [house.put(f"{number}.txt", f"text {number}") for number in range(3)]
    first = house.embed(*events)
    house.store.put("docs", "0.txt", b"new")
    again = house.embed(*events)
    assert again.batch_id != first.batch_id
    assert house.texts(again.batch_id)["0.txt"] == "new"
    assert {key: rows[0].text for (_, key), rows in house.index.winners("default").items()}["0.txt"] == "new"


def test_a_store_that_goes_away_ends_the_batch(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    events = [house.put(f"{number}.txt", f"text {number}") for number in range(200)]
    plain = house.store.get_many

    def get_many(bucket: str, keys: Sequence[str], **more: Any) -> Any:
        if "150.txt" in keys:
            raise StoreDown
        return plain(bucket, keys, **more)

    monkeypatch.setattr(house.store, "get_many", get_many)
    with pytest.raises(StoreDown):
        house.embed(*events)
    assert not house.index.batches
    monkeypatch.undo()
    assert house.embed(*events).count == 200


def test_what_must_be_held_at_once_has_a_limit(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_members, "BATCH_LIMIT", 100)
    with pytest.raises(BadInput, match="Send fewer at once"):
        all_read(house.members(*(house.put(f"{number}.txt", "x" * 30) for number in range(4))))


@given(
    lengths=st.lists(st.lists(st.integers(0, 30), max_size=6), max_size=12),
    most=st.integers(1, 5),
    early=st.sampled_from((1, 30, _passes.EARLY)),
    data=st.data(),
)
def test_vectors_come_in_the_order_of_their_texts(
    lengths: list[list[int]], most: int, early: int, data: st.DataObject
) -> None:
    models, turns = FakeModels(), list[list[str]]()
    plain = models.embed

    def embed(texts: Any) -> Any:
        turns.append(list(texts))
        return plain(texts)

    models.embed = embed  # type: ignore[method-assign]
    with patch.object(_passes, "EARLY", early), Passes(models, lambda: None, (most, 40)) as passes:
        kept: list[str] = []
        for number, group in enumerate(lengths):
            texts = [f"{number} {place} ".ljust(length, "x") for place, length in enumerate(group)]
            passes.add(texts)
            kept += texts
            assert len(passes) == len(kept)
            if data.draw(st.integers(0, 3)) == 0:
                kept = kept[: data.draw(st.integers(0, len(kept)))]
                passes.keep(len(kept))
        found = passes.vectors()
    assert np.array_equal(found, plain(kept)) if kept else not len(found)
    for turn in turns[:-1]:
        assert len(turn) <= most
        assert sum(map(len, turn[:-1])) < 40


@given(lengths=st.lists(st.integers(0, 9), min_size=1, max_size=12), count=st.integers(0, 12))
def test_the_first_texts_of_the_model_are_of_one_length_as_far_as_can_be(lengths: list[int], count: int) -> None:
    texts = [(place, "x" * length) for place, length in enumerate(lengths, 5)]
    chosen, left = alike(texts, count)
    assert sorted(chosen + left) == texts and chosen == sorted(chosen) and left == sorted(left)
    assert len(chosen) == min(max(1, count), len(texts))

    def padding(some: Iterable[tuple[int, str]]) -> int:
        sizes = [len(text) for _, text in some]
        return max(sizes) * len(sizes) - sum(sizes)

    assert padding(chosen) == min(padding(some) for some in combinations(texts, len(chosen)))


def test_the_model_begins_while_objects_are_still_read(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last object is handed out only when the model has been asked for texts before."""
    monkeypatch.setattr(_passes, "EARLY", 60)
    begun, plain, get_many = threading.Event(), house.models.embed, house.store.get_many
    turns: list[int] = []

    def embed(texts: Any) -> Any:
        turns.append(len(texts))
        begun.set()
        return plain(texts)

    def read(bucket: str, keys: Any, limit: int = 0) -> Any:
        if "99.txt" in keys:
            assert begun.wait(30), "everything was read before the model began"
        return get_many(bucket, keys, limit=limit)

    monkeypatch.setattr(house.models, "embed", embed)
    monkeypatch.setattr(house.store, "get_many", read)
    done = house.embed(*(house.put(f"{number:02}.txt", f"text number {number}") for number in range(100)))
    assert done.count == 100 and turns[0] < 50 and sum(turns) == 100


def test_the_model_goes_on_as_often_as_it_has_nothing_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that is slower than the model keeps it waiting for the next texts only, not for all of them."""
    monkeypatch.setattr(_passes, "EARLY", 60)
    models, turns, ended = FakeModels(), list[int](), threading.Semaphore(0)
    plain = models.embed

    def embed(texts: Any) -> Any:
        turns.append(len(texts))
        found = plain(texts)
        ended.release()
        return found

    monkeypatch.setattr(models, "embed", embed)
    texts = [f"text number {number}" for number in range(30)]
    with Passes(models, lambda: None) as passes:
        for first in range(0, 30, 10):
            passes.add(texts[first : first + 10])
            assert ended.acquire(timeout=30), f"turns {turns} after {first + 10} texts"
            assert passes._turn is not None
            passes._turn[1].result()
        found = passes.vectors()
    assert np.array_equal(found, plain(texts)) and turns == [3, 5, 7, 15]


def test_a_model_that_fails_ends_the_batch(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    turns_of(monkeypatch, 2)

    def embed(_: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(house.models, "embed", embed)
    with pytest.raises(MemoryError):
        house.embed(*(house.put(f"{number}.txt", f"text {number}") for number in range(9)))
    assert not house.index.batches
