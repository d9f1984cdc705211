"""The one port to the vector indexes: `context.Index` over FAISS, the store and Redis."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import redis

from runtime import keys
from runtime.broker import translated
from runtime.context import BuildReport, IndexVersion, Row, Store
from runtime.errors import BadInput, ObjectMissing
from runtime.index import batches, layout, manifest, texts
from runtime.index.cache import SegmentCache
from runtime.index.docs import Vectors
from runtime.index.manifest import Manifest
from runtime.index.sequence import Sequence as Numbers

if TYPE_CHECKING:
    from runtime.index.writer import Builder


class FaissIndex:
    """Implements `context.Index`. `cache_dir` is best shared with the readers of this host."""

    def __init__(
        self,
        store: Store,
        client: redis.Redis,
        cache_dir: Path | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._client, self._cache_dir, self._clock = store, client, cache_dir, clock
        self._numbers = Numbers(store, client)
        self._known: dict[str, Manifest] = {}

    def next_seq(self, index: str, count: int = 1) -> int:
        """Reserve `count` sequence numbers and return the first. Reserve before reading what they describe."""
        layout.check_name(index)
        return self._numbers.take(index, count)

    def read_batch(self, index: str, batch_id: str) -> tuple[list[Row], Vectors] | None:
        """A committed batch, or None. Raises CorruptBatch."""
        try:
            batch = batches.read(self._store, index, batch_id)
        except ObjectMissing:
            return None
        return batch.rows, batch.vectors

    def write_batch(self, index: str, batch_id: str, rows: Sequence[Row], vectors: Vectors, model: str) -> str:
        """Commit a batch once and return its path in the store."""
        return batches.write(self._store, index, batch_id, list(rows), vectors, model)

    def text_versions(self, index: str, ids: Sequence[str]) -> dict[str, tuple[str, int]]:
        """The newest written version, (etag, seq), of documents by id: `bucket/key`, or `/id` of a text."""
        return texts.read(self._client, layout.check_name(index), ids)

    def set_text_versions(self, index: str, versions: Mapping[str, tuple[str, int]]) -> None:
        """Note the newest versions, (etag, seq) by id; an entry with a higher seq stays."""
        texts.write(self._client, layout.check_name(index), versions)

    def build(self, index: str, batches: Sequence[str] = ()) -> BuildReport:
        """Publish a version that holds every committed batch, if there is anything new; readers are told.

        Who knows which `batches` are new names them: these are published without looking through all.
        """
        layout.check_name(index)
        report, current = self._builder.build(index, batches)
        if current and report.published:
            self._numbers.raise_to(index, current.max_seq)
        return report

    def announce(self, index: str, generation: int | None = None) -> tuple[IndexVersion | None, int]:
        """Tell every reader of the newest (or the named) version; returns it and how many listened."""
        current = self._newest(index)
        if generation is not None and (current is None or generation != current.generation):
            newest = f"The newest is {current.generation}." if current else "It has none yet."
            try:
                current = manifest.read(self._store, index, generation)
            except ObjectMissing as error:
                raise BadInput(f"Index {index!r} has no generation {generation}. {newest}") from error
        return (current.described(), self._tell(current)) if current else (None, 0)

    def current(self, index: str) -> IndexVersion | None:
        current = self._newest(index)
        return current.described() if current else None

    def versions(self, index: str) -> list[IndexVersion]:
        """Every version whose manifest is still stored, newest first."""
        generations = sorted((number for number, _ in manifest.listed(self._store, index)), reverse=True)
        return [manifest.read(self._store, index, generation).described() for generation in generations]

    def names(self) -> list[str]:
        """The indexes that have at least one batch or version."""
        return sorted({name for prefix in (layout.EMBEDDINGS, layout.INDEXES) for name in self._names(prefix)})

    def cleanup(self, index: str, older_than: float) -> dict[str, int]:
        """Remove what no kept version needs and is older than `older_than` seconds; counts by kind."""
        from runtime.index.retention import Retention

        layout.check_name(index)
        return Retention(self._store, self._client, self._cache, clock=self._clock).cleanup(index, older_than)

    @cached_property
    def _builder(self) -> Builder:
        from runtime.index.writer import Builder

        return Builder(self._store, self._client, self._cache, tell=self._tell)

    @cached_property
    def _cache(self) -> SegmentCache:
        folder = self._cache_dir or Path(self._temporary.name)
        return SegmentCache(folder, self._store)

    @cached_property
    def _temporary(self) -> tempfile.TemporaryDirectory[str]:
        """A cache of this object alone; removed with it."""
        return tempfile.TemporaryDirectory(prefix="tundish-index-")

    def _newest(self, index: str) -> Manifest | None:
        current = manifest.newest(self._store, index, self._known.get(index))
        if current:
            self._known[index] = current
        return current

    def _tell(self, current: Manifest) -> int:
        message = {"index": current.index, "generation": current.generation, "version": current.version}
        with translated():
            return int(self._client.publish(keys.SWAP_CHANNEL, json.dumps(message)))

    def _names(self, prefix: str) -> list[str]:
        """One page per name: the listing goes on after everything that belongs to it ('~' sorts after our names)."""
        names: list[str] = []
        start = ""
        while item := next(iter(self._store.list(self._store.bucket, prefix, start_after=start)), None):
            name = item.key[len(prefix) :].partition("/")[0]
            if name in names:
                break
            names.append(name)
            start = f"{prefix}{name}/~"
        return names
