"""What an index offers of documents that are about to be embedded, on a real store and broker."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import redis

from runtime.config.settings import StoreSettings
from runtime.index import layout
from runtime.index.port import FaissIndex
from tests.indexing import DIMENSIONS, Doc, House, fresh_store, gone, house, put, rows_of, vector, write
from tests.migrating import OLD, migrate, pair


@pytest.fixture
def home(store_settings: StoreSettings, redis_client: redis.Redis, tmp_path: Path) -> House:
    return house(fresh_store(store_settings), redis_client, tmp_path)


def commit(home: House, batch: str, *docs: Doc, made: str = "knife") -> None:
    texts = [text for doc in docs for text in doc.contents]
    vectors = np.array([vector(text) for text in texts], np.float32).reshape(len(texts), DIMENSIONS)
    home.index.write_batch("default", batch, rows_of(list(docs)), vectors, OLD, made)


def offered(index: FaissIndex, *asked: tuple[str, str], model: str = OLD) -> dict[str, list[str]]:
    """Chunks by `made:key@seq` for (key, etag); each chunk's vector is checked."""
    found: dict[str, list[str]] = {}
    for kept in index.kept("default", [("documents", key, etag) for key, etag in asked], model):
        puts = [row for row in kept.rows if row.op == "put"]
        assert len(kept.vectors) == len(puts)
        for row, mine in zip(puts, kept.vectors, strict=True):
            assert np.array_equal(mine, vector(row.text, len(mine)))
        for row in kept.rows:
            found.setdefault(f"{kept.made}:{row.key}@{row.seq}", []).append(row.text)
    return found


def test_the_newest_version_of_each_document_and_copies(home: House) -> None:
    commit(home, "b1", put("a", 1, "one", "two"), put("b", 2, "old"), put("c", 3, "three"))
    commit(home, "b2", put("b", 4, "new"), gone("c", 5))
    assert offered(home.index, ("a", "one|two")) == {}, "nothing was built yet"
    home.index.build("default")
    commit(home, "b3", put("d", 6, "four"), made="")
    home.index.build("default")
    assert offered(home.index, ("a", "one|two")) == {"knife:a@1": ["one", "two"]}
    assert offered(home.index, ("b", "edited")) == {"knife:b@4": ["new"]}
    assert offered(home.index, ("x", "four")) == {":d@6": ["four"]}, "a copy"
    assert offered(home.index, ("c", "three"))["knife:c@5"] == [""], "it is gone by now"
    assert offered(home.index, ("x", ""), ("y", "unknown")) == {}
    everything = offered(home.index, ("a", "one|two"), ("b", "new"), ("d", "five"), ("e", "one|two"))
    assert everything == {"knife:a@1": ["one", "two"], "knife:b@4": ["new"], ":d@6": ["four"]}
    assert offered(home.index, ("a", "one|two"), model="another") == {}


def test_after_a_compaction_and_for_a_host_with_an_empty_cache(home: House, redis_client: redis.Redis) -> None:
    for number in range(4):
        commit(
            home, f"b{number}", put("a", 2 * number, f"a {number}"), put(f"k{number}", 2 * number + 1, f"k {number}")
        )
        home.index.build("default")
    home.index.compact("default")
    other = FaissIndex(home.store, redis_client)
    assert offered(other, ("a", ""), ("k0", "")) == {"knife:a@6": ["a 3"], "knife:k0@1": ["k 0"]}


def test_what_is_damaged_or_gone_is_left_out(home: House) -> None:
    for name in ("b1", "b2", "b3"):
        commit(home, name, put(name, int(name[1]), f"text {name}"))
    home.index.build("default")
    path = layout.batch("default", "b1")
    home.store.put(home.store.bucket, path + layout.VECTORS, b"damaged")
    home.store.delete(home.store.bucket, layout.batch("default", "b2") + layout.ROWS)
    assert offered(home.index, ("b1", ""), ("b2", ""), ("b3", "")) == {"knife:b3@3": ["text b3"]}


def test_a_migrated_index_offers_the_vectors_of_its_model(home: House) -> None:
    commit(home, "b1", put("a", 1, "one", "two"))
    home.index.build("default")
    _, small = pair()
    migrate(home, small)
    assert offered(home.index, ("a", ""), model=OLD) == {}
    assert offered(home.index, ("a", ""), model=small.name) == {"knife:a@1": ["one", "two"]}


def test_batches_of_earlier_releases(home: House) -> None:
    write(home.index, "b1", put("a", 1, "one"))
    home.index.build("default")
    assert offered(home.index, ("a", "one")) == {":a@1": ["one"]}
