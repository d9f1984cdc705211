"""Helpers for tests of the store and the index: buckets of one's own, documents with recognisable vectors."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import redis
from numpy.typing import NDArray

from runtime.config.settings import StoreSettings
from runtime.context import Index, Row, Store
from runtime.index.port import FaissIndex
from runtime.index.reader import IndexReader
from runtime.store.port import MinioStore

DIMENSIONS = 16
Vectors = NDArray[np.float32]


def fresh_store(settings: StoreSettings) -> MinioStore:
    """A store whose own bucket is new and empty."""
    store = MinioStore(settings.model_copy(update={"bucket": f"test-{uuid.uuid4().hex[:12]}"}))
    store.ensure_bucket(store.bucket)
    return store


def vector(content: str, dimensions: int = DIMENSIONS) -> Vectors:
    """A unit vector that only this content has."""
    raw = np.random.default_rng(list(content.encode())).standard_normal(dimensions).astype(np.float32)
    unit: Vectors = raw / np.linalg.norm(raw)
    return unit


@dataclass(frozen=True)
class Doc:
    """A document's version: `contents` are its chunks; none means that it is gone."""

    key: str
    seq: int
    contents: list[str] = field(default_factory=list)


def rows_of(docs: list[Doc]) -> list[Row]:
    rows = []
    for doc in docs:
        etag = "|".join(doc.contents)
        if not doc.contents:
            rows.append(Row("documents", doc.key, "", doc.seq, "delete"))
        for chunk, text in enumerate(doc.contents):
            rows.append(Row("documents", doc.key, etag, doc.seq, chunk=chunk, text=text, end=len(text)))
    return rows


def write(
    index: Index, batch: str, *docs: Doc, name: str = "default", dimensions: int = DIMENSIONS, model: str = "model"
) -> str:
    """Commit a batch of documents."""
    texts = [text for doc in docs for text in doc.contents]
    vectors = np.array([vector(text, dimensions) for text in texts], np.float32).reshape(len(texts), dimensions)
    return index.write_batch(name, batch, rows_of(list(docs)), vectors, model)


def put(key: str, seq: int, *contents: str) -> Doc:
    return Doc(key, seq, list(contents) or [f"{key} at {seq}"])


def gone(key: str, seq: int) -> Doc:
    return Doc(key, seq)


@dataclass
class House:
    """An index over one store, with a reader that has a cache of its own."""

    store: Store
    index: FaissIndex
    reader: IndexReader
    cache: Path

    def found(self, content: str, name: str = "default") -> str:
        """The key whose chunk is exactly this content, or an empty string."""
        hits = self.reader.search(name, vector(content), 1).hits
        return hits[0].key if hits and hits[0].text == content else ""

    def contents(self, name: str = "default") -> dict[str, list[str]]:
        """Everything that the version in use holds: chunks by key."""
        hits = self.reader.search(name, vector("anything"), 10_000).hits
        found: dict[str, list[str]] = {}
        for hit in sorted(hits, key=lambda hit: (hit.key, hit.chunk)):
            found.setdefault(hit.key, []).append(hit.text)
        return found


def house(
    store: Store,
    client: redis.Redis,
    folder: Path,
    later: float = 0.0,
    *,
    hybrid: Callable[[str], bool] = lambda index: False,
) -> House:
    """`later`: by how many seconds the clock that retention reads is ahead of the store's."""
    cache = folder / "reader"
    index = FaissIndex(store, client, folder / "builder", clock=lambda: time.time() + later, hybrid=hybrid)
    return House(store, index, IndexReader(store, cache), cache)
