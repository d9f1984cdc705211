"""Searching by words, and by words and vectors together, over several segments with tombstones and filters."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from runtime.config.settings import StoreSettings
from runtime.errors import NoWords, ServiceFailed
from runtime.index import lexical, lexical_file, manifest
from runtime.index.cache import SEGMENTS, SegmentCache
from runtime.index.filters import Filters
from runtime.index.hybrid import CONSTANT, Mode
from runtime.index.lexical_file import LEXICAL, UNPACKED
from runtime.index.reader import IndexReader
from runtime.index.search import Hit, Search, SearchResult
from tests.indexing import Doc, House, fresh_store, gone, house, put, vector, write

WORDS = ["boiler", "pump", "valve", "kiln", "flue", "hearth", "ladle", "mould"]
FOLDERS = ["a/", "b/", "c/"]


def asked(
    home: House,
    text: str,
    mode: Mode,
    k: int = 10_000,
    *,
    filters: Filters | None = None,
    min_score: float | None = None,
    group: bool = False,
) -> list[Hit]:
    search = Search(vector(text), k, filters, min_score, group, "", text, mode)
    (found,) = home.reader.search_many("default", [search])
    assert isinstance(found, SearchResult), found
    return found.hits


class Large:
    """Three segments: documents of one to three chunks, replaced and removed by later ones."""

    def __init__(self, home: House) -> None:
        self.home, draw = home, random.Random(7)
        self.chunks: dict[str, list[str]] = {}
        seq = 0
        for batch, count in enumerate([220, 60, 8]):
            docs: dict[str, Doc] = {}
            for _ in range(count):
                seq += 1
                key = f"{draw.choice(FOLDERS)}{draw.randrange(200)}"
                texts = [
                    f"{' '.join(draw.choices(WORDS, [1 / (n + 1) for n in range(8)], k=3))} {seq} {chunk}"
                    for chunk in range(draw.randint(0 if batch else 1, 3))
                ]
                docs[key] = Doc(key, seq, texts)
                self.chunks[key] = texts
            write(home.index, f"b{batch}", *docs.values())
            home.index.build("default", [f"b{batch}"])
        home.reader.refresh("default")

    def having(self, query: str, prefix: str = "") -> set[tuple[str, int]]:
        """Every chunk that has one of the words, looked for by hand."""
        return {
            (key, chunk)
            for key, texts in self.chunks.items()
            for chunk, text in enumerate(texts)
            if key.startswith(prefix) and set(text.split()) & set(query.split())
        }


@pytest.fixture(scope="module")
def large(store_settings: StoreSettings, broker_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Large]:
    client = redis.Redis.from_url(broker_url)
    made = house(fresh_store(store_settings), client, tmp_path_factory.mktemp("large"), hybrid=lambda index: True)
    yield Large(made)
    client.close()


@pytest.fixture
def home(store_settings: StoreSettings, redis_client: redis.Redis, tmp_path: Path) -> House:
    return house(fresh_store(store_settings), redis_client, tmp_path, hybrid=lambda index: True)


def places(hits: list[Hit]) -> list[tuple[str, int]]:
    return [(hit.key, hit.chunk) for hit in hits]


@pytest.mark.parametrize("few", [0, 20, 1000], ids=["read on", "either", "named"])
def test_exactly_the_rows_that_have_a_word_come_back(large: Large, monkeypatch: pytest.MonkeyPatch, few: int) -> None:
    monkeypatch.setattr(lexical, "FEW", few)
    assert len(large.home.reader._loaded["default"].parts) == 3
    draw = random.Random(few)
    for _ in range(12):
        query, prefix = " ".join(draw.sample(WORDS, draw.randint(1, 3))), draw.choice(["", *FOLDERS, "a/1", "a/17"])
        filters = Filters(prefixes=(prefix,)) if prefix else None
        expected = large.having(query, prefix)
        found = asked(large.home, query, "text", filters=filters)
        assert len(found) == len(expected)
        assert set(places(found)) == expected
        assert all(hit.score == pytest.approx(float(vector(hit.text) @ vector(query)), abs=1e-5) for hit in found)
        some = asked(large.home, query, "text", 3, filters=filters)
        assert len(some) == min(3, len(expected))
        assert set(places(some)) <= expected


def test_both_lists_are_one_by_rank(large: Large) -> None:
    query = "kiln flue"
    nearest, worded = (
        places(asked(large.home, query, "vector", 100)),
        places(asked(large.home, query, "text", 20))[:100],
    )
    ranks: dict[tuple[str, int], float] = {}
    for listed in (nearest, places(asked(large.home, query, "text", 10_000))[:100]):
        for place, one in enumerate(listed, 1):
            ranks[one] = ranks.get(one, 0.0) + 1 / (CONSTANT + place)
    found = places(asked(large.home, query, "hybrid", 20))
    assert [ranks[one] for one in found] == sorted(ranks.values(), reverse=True)[:20]
    assert set(found) - set(nearest), "some are there for their words alone"
    assert set(found) - set(worded), "and some for their vectors"


def test_many_searches_at_once_are_answered_as_one_by_one(large: Large) -> None:
    modes: tuple[Mode, ...] = ("vector", "text", "hybrid")
    searches = [
        Search(vector(word), k, None, None, group, "", word, mode)
        for word in ("kiln", "pump")
        for mode in modes
        for k in (2, 30)
        for group in (False, True)
    ]
    together = large.home.reader.search_many("default", searches)
    assert together == [large.home.reader.search_many("default", [search])[0] for search in searches]


@pytest.mark.parametrize("mode", ["text", "hybrid"])
def test_documents_and_a_least_score(large: Large, mode: Mode) -> None:
    every = asked(large.home, "pump hearth", mode)
    documents = asked(large.home, "pump hearth", mode, 100, group=True)
    assert len(documents) == min(100, len({hit.key for hit in every}))
    best: dict[str, int] = {}
    for hit in every:
        best.setdefault(hit.key, hit.chunk)
    same = [hit for hit in documents if best[hit.key] == hit.chunk]
    assert len(same) == len(documents)
    assert all((hit.further or 0) == len(large.chunks[hit.key]) - 1 for hit in documents)
    least = sorted(hit.score for hit in every)[len(every) // 2]
    high = asked(large.home, "pump hearth", mode, min_score=least)
    assert set(places(high)) == {(hit.key, hit.chunk) for hit in every if hit.score >= least}


def test_text_reads_on_until_enough_have_the_least_score(large: Large, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.index.hybrid.LEAST", 5)
    every = asked(large.home, "boiler", "text")
    least = sorted(hit.score for hit in every)[-4]
    found = asked(large.home, "boiler", "text", 4, min_score=least)
    assert sorted(hit.score for hit in found) == sorted(hit.score for hit in every)[-4:]


def test_a_name_that_only_words_can_find(home: House) -> None:
    write(home.index, "b1", *(put(f"k{number}", number, f"about things {number}") for number in range(300)))
    write(home.index, "b2", put("name", 1000, "the pump QX-9934 leaks"))
    home.index.build("default")
    home.reader.refresh("default")
    assert "name" not in [hit.key for hit in asked(home, "qx-9934", "vector", 10)]
    assert asked(home, "qx-9934", "hybrid", 10)[0].key == "name"
    assert [hit.key for hit in asked(home, "qx-9934", "text", 10)] == ["name"]
    write(home.index, "b3", gone("name", 1001))
    home.index.build("default")
    home.reader.refresh("default")
    assert asked(home, "qx-9934", "text", 10) == []
    assert "name" not in [hit.key for hit in asked(home, "qx-9934", "hybrid")]


def test_switched_on_later(store_settings: StoreSettings, redis_client: redis.Redis, tmp_path: Path) -> None:
    on: set[str] = set()
    home = house(fresh_store(store_settings), redis_client, tmp_path, hybrid=on.__contains__)
    write(home.index, "b1", put("old", 1, "an old pump"), put("other", 2, "another"))
    assert not home.index.build("default").crowded
    home.reader.refresh("default")
    assert home.reader.words("default") == (0, 1)
    (found,) = home.reader.search_many("default", [Search(vector("pump"), text="pump", mode="text")])
    assert isinstance(found, NoWords)

    on.add("default")
    write(home.index, "b2", put("new", 3, "a new pump"))
    assert home.index.build("default").crowded, "a compaction is to bring words to the older segment"
    home.reader.refresh("default")
    assert home.reader.words("default") == (1, 2)
    assert [hit.key for hit in asked(home, "pump", "text")] == ["new"]
    assert {hit.key for hit in asked(home, "pump", "hybrid")} == {"old", "other", "new"}

    assert home.index.compact("default").merged == 1
    home.reader.refresh("default")
    assert home.reader.words("default") == (2, 2)
    assert {hit.key for hit in asked(home, "pump", "text")} == {"old", "new"}
    assert home.index.compact("default").note == "There is nothing to merge."

    on.clear()
    assert not home.index.build("default").crowded, "switched off, they stay as they are"
    assert home.index.rebuild("default", "for a test").published
    home.reader.refresh("default")
    assert home.reader.words("default") == (0, 1)


def test_an_empty_index_and_one_of_deletes_alone(home: House) -> None:
    (found,) = home.reader.search_many("default", [Search(vector("a"), text="a", mode="hybrid")])
    assert found == SearchResult()
    write(home.index, "b1", gone("k", 1))
    home.index.build("default")
    home.reader.refresh("default")
    assert asked(home, "a", "hybrid") == asked(home, "a", "text") == []
    assert home.reader.words("default") == (0, 0)
    assert not home.index.build("default").crowded


def test_a_damaged_archive_is_fetched_again(home: House) -> None:
    write(home.index, "b1", put("k", 1, "a pump"))
    home.index.build("default")
    home.reader.refresh("default")
    (segment,) = (home.cache / "default" / SEGMENTS).iterdir()
    whole = (segment / LEXICAL).read_bytes()
    for damaged in (bytes([whole[0] ^ 1]) + whole[1:], whole[:-1]):
        (segment / LEXICAL).write_bytes(damaged)
        (segment / UNPACKED / "meta.json").unlink()
        home.reader = IndexReader(home.store, home.cache)
        home.reader.refresh("default")
        assert [hit.key for hit in asked(home, "pump", "text")] == ["k"]
        assert (segment / LEXICAL).read_bytes() == whole
    (segment / LEXICAL).write_bytes(damaged)
    assert SegmentCache(home.cache, home.store).check("default", segment.name) == [LEXICAL]
    assert not (segment / UNPACKED).exists(), "whoever looks at every byte does not trust the copy either"


def test_without_the_library(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home.index, "b1", put("k", 1, "a pump"))
    home.index.build("default")
    for module in (lexical, lexical_file):
        monkeypatch.setattr(module, "installed", lambda: False)
    home.reader.refresh("default")
    assert [hit.key for hit in asked(home, "pump", "vector")] == ["k"]
    assert home.reader.words("default") == (0, 1)
    write(home.index, "b2", put("k2", 2, "a pump"))
    with pytest.raises(ServiceFailed, match=r"tundish\[hybrid\]"):
        home.index.build("default")
    current = manifest.newest(home.store, "default")
    assert current and current.generation == 1
