"""Searching a version of several segments against looking at everything: filters, least scores, documents."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis

from runtime.config.settings import StoreSettings
from runtime.context import Row
from runtime.errors import BadInput
from runtime.index import attributes, manifest, plan
from runtime.index.filters import Filters, Range
from runtime.index.live import Live
from runtime.index.reader import IndexReader
from runtime.index.search import Hit, Search, SearchResult
from tests.indexing import DIMENSIONS, House, Vectors, fresh_store, house, vector
from tests.test_index_filters import passes

BUCKETS, LANGUAGES = ("documents", "reports"), ("en", "de", "fr")


@pytest.fixture
def home(store_settings: StoreSettings, redis_client: redis.Redis, tmp_path: Path) -> House:
    return house(fresh_store(store_settings), redis_client, tmp_path)


class Library:
    """Documents that come, change and go, published in many segments; and what ought to be found."""

    def __init__(self, home: House, dice: random.Random) -> None:
        self.home, self.dice = home, dice
        self.rows: dict[tuple[str, str], list[Row]] = {}
        self._seq = 0

    def publish(self, size: int) -> None:
        """One batch: some new documents, some that were known, one that goes."""
        places = {
            (self.dice.choice(BUCKETS), f"{self.dice.choice('abc')}/{self.dice.randrange(60)}") for _ in range(size)
        }
        batch = [row for place in sorted(places) for row in self._document(*place)]
        if self.rows and self.dice.random() < 0.8:
            gone = self.dice.choice(sorted(set(self.rows) - places) or [("documents", "never")])
            self.rows.pop(gone, None)
            self._seq += 1
            batch.append(Row(*gone, etag="", seq=self._seq, op="delete"))
        vectors = [vector(row.text) for row in batch if row.op == "put"]
        stacked = np.array(vectors, np.float32).reshape(len(vectors), DIMENSIONS)
        self.home.index.write_batch("default", f"b{self._seq}", batch, stacked, "model")
        self.home.index.build("default")

    def expected(self, query: Vectors, search: Search) -> list[tuple[str, str, int, int | None]]:
        """Bucket, key, chunk and how many further chunks, best first."""
        wanted = search.filters or Filters()
        scored = [
            (float(vector(row.text) @ query), row)
            for rows in self.rows.values()
            for row in rows
            if passes(row.bucket, row.key, row.meta, row.tenant, wanted)
        ]
        scored = [one for one in scored if search.min_score is None or one[0] >= search.min_score]
        scored.sort(key=lambda one: -one[0])
        held = Counter((row.bucket, row.key) for _, row in scored)
        if not search.group:
            return [(row.bucket, row.key, row.chunk, None) for _, row in scored[: search.k]]
        first: dict[tuple[str, str], Row] = {}
        for _, row in scored:
            first.setdefault((row.bucket, row.key), row)
        return [(*place, row.chunk, held[place] - 1) for place, row in list(first.items())[: search.k]]

    def search(self) -> Search:
        dice = self.dice
        filters = Filters(
            dice.choice([(), (), ("reports",), BUCKETS]),
            dice.choice([(), (), ("a/",), ("b/1", "c/")]),
            dice.choice([(), (), ("text/*",), ("application/pdf", "text/html")]),
            dice.choice([None, None, Range(100, None), Range(None, 500), Range(200, 400), Range(400, 200)]),
            dice.choice([(), (), (("lang", ("en", "fr")),), (("lang", ("de",)), ("page", (0.0, Range(2, 3))))]),
        )
        least = dice.choice([None, None, -0.2, 0.2, 0.9])
        return Search(self._query(), dice.choice([1, 3, 10, 100]), filters, least, dice.random() < 0.5)

    def _query(self) -> Vectors:
        return vector(f"query {self.dice.randrange(10**6)}")

    def _document(self, bucket: str, key: str) -> Sequence[Row]:
        self._seq += 1
        noted: dict[str, Any] = {"content_type": self.dice.choice(["text/plain", "text/html", "application/pdf"])}
        noted |= {"modified": self.dice.randrange(600), "metadata": {"lang": self.dice.choice(LANGUAGES)}}
        made = [
            Row(bucket, key, f"e{self._seq}", self._seq, chunk=chunk, text=f"{bucket} {key} {self._seq} {chunk}")
            for chunk in range(self.dice.choice([1, 1, 2, 9]))
        ]
        for row in made:
            row.meta.update(noted, page=row.chunk)  # what differs from chunk to chunk
        self.rows[bucket, key] = made
        return made


def found(result: SearchResult | BadInput) -> list[Hit]:
    assert isinstance(result, SearchResult)
    return result.hits


@pytest.mark.parametrize("seed", range(2))
def test_any_search_finds_what_looking_at_everything_finds(
    home: House, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = random.Random(seed)
    library = Library(home, dice)
    for number in range(8):
        # Some segments have their table of attributes with them, others are as an earlier release wrote them.
        monkeypatch.setattr(attributes, "SMALL", dice.choice([0, 10**9]))
        library.publish(40 if number < 2 else 6)
        if number == 5:
            monkeypatch.setattr(plan, "MANY_SEGMENTS", 2)
            assert home.index.compact("default").merged > 1
    home.reader.refresh("default")
    newest = manifest.newest(home.store, "default")
    assert newest is not None and len(newest.segments) > 1
    assert any(ref.tombstones for ref in newest.segments)
    searches = [library.search() for _ in range(60)]
    # Those with the same filters go together.
    searches += [Search(vector(f"again {at}"), 5 + at, searches[at % 3].filters) for at in range(12)]
    results = home.reader.search_many("default", searches)
    counts = Counter[bool]()
    for search, result in zip(searches, results, strict=True):
        hits = found(result)
        got = [(hit.bucket, hit.key, hit.chunk, hit.further) for hit in hits]
        expected = library.expected(search.vector, search)
        assert got == expected
        scores = [hit.score for hit in hits]
        assert scores == sorted(scores, reverse=True)
        counts[bool(expected)] += 1
    assert counts[True] > 20


def test_k_results_come_back_however_few_pass(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The nearest are all of another kind."""
    monkeypatch.setattr(attributes, "SMALL", 0)
    query = vector("query")
    texts = sorted((f"text {number}" for number in range(300)), key=lambda text: -float(vector(text) @ query))
    rows = [
        Row("documents", text, "e", 1, text=text, meta={"metadata": {"rare": "yes"} if at >= 290 else {}})
        for at, text in enumerate(texts)
    ]
    home.index.write_batch("default", "b", rows, np.array([vector(row.text) for row in rows]), "model")
    home.index.build("default")
    home.reader.refresh("default")
    rare = Filters(meta=(("rare", ("yes",)),))
    (result,) = home.reader.search_many("default", [Search(query, 8, rare)])
    assert [hit.key for hit in found(result)] == texts[290:298]


def test_one_document_does_not_hide_the_others(home: House) -> None:
    """A thousand chunks of one document are all nearer than any other document."""
    query = vector("query")

    def near(number: int, share: float) -> Vectors:
        mixed = query + np.float32(share) * vector(f"noise {number}")
        unit: Vectors = mixed / np.linalg.norm(mixed)
        return unit

    rows = [Row("documents", "long", "e", 1, chunk=at, text=str(at)) for at in range(1000)]
    rows += [Row("documents", f"short {at}", "e", 2 + at, text="short") for at in range(5)]
    vectors = [near(at, 0.01) for at in range(1000)] + [near(at, 1 + at) for at in range(5)]
    home.index.write_batch("default", "b", rows, np.array(vectors), "model")
    home.index.build("default")
    home.reader.refresh("default")
    (result,) = home.reader.search_many("default", [Search(query, 3, group=True)])
    assert [(hit.key, hit.further) for hit in found(result)] == [("long", 999), ("short 0", 0), ("short 1", 0)]
    (result,) = home.reader.search_many("default", [Search(query, 100, group=True)])
    assert len(found(result)) == 6


def test_searches_that_are_alike_are_one_question_to_a_segment(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library(home, random.Random(5))
    library.publish(10)
    home.reader.refresh("default")
    asked: list[int] = []
    plain = Live.search

    def search(self: Live, queries: Vectors, *rest: Any, **more: Any) -> Any:
        asked.append(len(queries))
        return plain(self, queries, *rest, **more)

    monkeypatch.setattr(Live, "search", search)
    english, german = (Filters(meta=(("lang", (lang,)),)) for lang in ("en", "de"))
    searches = [Search(vector(str(at)), 8 + at, (english, german, None)[at % 3]) for at in range(6)]
    searches[2:2] = [Search(np.ones(3, np.float32)), Search(vector("x"), 0)]
    results = home.reader.search_many("default", searches)
    assert sorted(asked) == [2, 2, 2]
    assert [isinstance(result, BadInput) for result in results] == [at in (2, 3) for at in range(8)]
    for search_, result in zip(searches, results, strict=True):
        if not isinstance(result, BadInput):
            expected = [place[:3] for place in library.expected(search_.vector, search_)]
            assert [(hit.bucket, hit.key, hit.chunk) for hit in result.hits] == expected


@pytest.mark.parametrize("damage", [b"", b"x" * 4000])
def test_a_damaged_table_of_attributes_is_fetched_again(
    home: House, monkeypatch: pytest.MonkeyPatch, damage: bytes
) -> None:
    monkeypatch.setattr(attributes, "SMALL", 0)
    library = Library(home, random.Random(1))
    library.publish(10)
    home.reader.refresh("default")
    (path,) = home.cache.rglob(attributes.ATTRIBUTES)
    whole = path.read_bytes()
    path.unlink()  # a mapped file is never changed in place
    path.write_bytes(damage)
    again = IndexReader(home.store, home.cache)
    assert again.refresh("default")
    assert path.read_bytes() == whole
    search = Search(vector("query"), 100, Filters(types=("text/*",)))
    (result,) = again.search_many("default", [search])
    assert [(hit.bucket, hit.key, hit.chunk, None) for hit in found(result)] == library.expected(search.vector, search)
