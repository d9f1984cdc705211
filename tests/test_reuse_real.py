"""embed_all again and again on the real store, broker and index, with a model that counts what it is asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
import redis

from functions import _source_parts
from functions.embed_all import EmbedAllResult, embed_all
from runtime import keys
from runtime.config.settings import StoreSettings
from runtime.index.port import FaissIndex
from runtime.index.reader import IndexReader
from runtime.store.port import MinioStore
from runtime.testing import FakeModels
from tests.indexing import fresh_store
from tests.sourcing import sourcing


@dataclass
class House:
    store: MinioStore
    index: FaissIndex
    bucket: str
    folder: Path

    def embed(self) -> tuple[EmbedAllResult, list[str]]:
        """A run, and the texts that the model embedded in it."""
        models = FakeModels()
        run = sourcing(self.store, self.index, models)  # type: ignore[arg-type]
        return embed_all(self.bucket, context=run.context), sorted(models.embedded)

    def found(self) -> dict[str, str]:
        """Key and text of everything that a search finds; each is found by its own vector."""
        reader = IndexReader(self.store, self.folder)
        reader.refresh("default")
        anything = FakeModels().embed(["anything"])[0]
        hits = {hit.key: hit.text for hit in reader.search("default", anything, 1000).hits}
        for key, text in hits.items():
            [hit] = reader.search("default", FakeModels().embed([text])[0], 1).hits
            assert (hit.text, round(hit.score, 3)) == (text, 1.0), key
        return hits


@pytest.fixture
def home(
    store_settings: StoreSettings, redis_client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> House:
    monkeypatch.setattr(_source_parts, "MAX_DOCUMENTS", 10)
    store = fresh_store(store_settings)
    bucket = f"docs-{uuid4().hex[:12]}"
    store.ensure_bucket(bucket)
    for number in range(20):
        store.put(bucket, f"{number:02}.txt", f"text number {number}".encode())
    return House(store, FaissIndex(store, redis_client, tmp_path / "cache"), bucket, tmp_path / "reader")


def test_nothing_is_embedded_twice(home: House, redis_client: redis.Redis) -> None:
    expected = {f"{number:02}.txt": f"text number {number}" for number in range(20)}
    first, embedded = home.embed()
    assert (first.total_docs, len(embedded)) == (20, 20)

    again, embedded = home.embed()
    assert (again.total_docs, again.version, embedded) == (20, first.version, [])

    home.store.put(home.bucket, "00-in-front.txt", b"in front of all others")
    expected["00-in-front.txt"] = "in front of all others"
    shifted, embedded = home.embed()
    assert (shifted.total_docs, embedded) == (21, ["in front of all others"])

    home.store.put(home.bucket, "07.txt", b"edited")
    home.store.put(home.bucket, "a copy.txt", b"text number 3")
    expected |= {"07.txt": "edited", "a copy.txt": "text number 3"}
    edited, embedded = home.embed()
    assert (edited.total_docs, embedded) == (22, ["edited"])

    redis_client.delete(keys.index_texts("default"))
    lost, embedded = home.embed()
    assert (lost.total_docs, embedded) == (22, []), "what was written is noted in the broker; the store knows as well"
    last, embedded = home.embed()
    assert (last.total_docs, last.version, embedded) == (22, lost.version, [])
    assert home.found() == expected
