"""The one port to the vector indexes: `context.Index` over FAISS, which what needs it imports, the store and Redis."""

from __future__ import annotations

import contextlib
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import redis

from runtime import keys
from runtime.broker.connection import translated
from runtime.context import (
    BuildReport,
    Chunking,
    CompactReport,
    Extraction,
    IndexModel,
    IndexVersion,
    Kept,
    Migration,
    Models,
    Row,
    Store,
)
from runtime.errors import BadInput, ObjectMissing
from runtime.index import announcement, layout, lease, manifest, names, texts
from runtime.index.manifest import Manifest
from runtime.index.rollback import release, rollback
from runtime.index.sequence import Sequence as Numbers
from runtime.interfaces_index import Progress
from runtime.metrics import measures
from runtime.telemetry import log_fields

if TYPE_CHECKING:
    from runtime.index.cache import SegmentCache
    from runtime.index.compact import Compactor
    from runtime.index.docs import Vectors
    from runtime.index.kept import Offers
    from runtime.index.writer import Builder

MODEL_SECONDS = 2.0
"""A model that was an index's so long ago is still taken for it: what is written late is embedded again."""

LATE_SECONDS = 60.0
LATE_SHARE = 0.05
"""Between two looks for batches of another model, and for this part of the time: it is a listing of all of them."""


class FaissIndex:
    """Implements `context.Index`. `cache_dir` is best shared with the readers of this host."""

    def __init__(
        self,
        store: Store,
        client: redis.Redis,
        cache_dir: Path | None = None,
        *,
        clock: Callable[[], float] = time.time,
        fresh: Callable[[str], str] = lambda index: "",
        hybrid: Callable[[str], bool] = lambda index: False,
        chunking: Callable[[str], Chunking] = lambda index: Chunking(),
        extraction: Callable[[str], Extraction] = lambda index: Extraction(),
    ) -> None:
        """`fresh` says which model an index takes that has no vectors yet; `hybrid`, which ones have words to search
        by; `chunking`, how texts are cut; `extraction`, how files are read."""
        self._store, self._client, self._cache_dir, self._clock = store, client, cache_dir, clock
        self._fresh, self._hybrid, self._chunking, self._extraction = fresh, hybrid, chunking, extraction
        self._numbers = Numbers(store, client)
        self._known: dict[str, Manifest] = {}
        self._models: dict[str, tuple[IndexModel, float]] = {}
        self._next_look: dict[tuple[str, int | None], float] = {}

    def next_seq(self, index: str, count: int = 1) -> int:
        """Reserve `count` sequence numbers and return the first. Reserve before reading what they describe."""
        return self._numbers.take(layout.check_name(index), count)

    def model(self, index: str) -> IndexModel:
        """Which model the newest version is made with; one that was current a moment ago counts, too."""
        known, at = self._models.get(index, (IndexModel(), -math.inf))
        if time.monotonic() > at + MODEL_SECONDS:
            current = self._newest(layout.check_name(index))
            known = IndexModel(self._fresh(index))
            if current and current.model:
                known = IndexModel(current.model, current.native or current.model)
            self._models[index] = known, time.monotonic()
        return known

    def read_batch(self, index: str, batch_id: str, model: str = "") -> tuple[list[Row], Vectors] | None:
        """A committed batch in the vectors of a model (empty: the index's), or None. Raises CorruptBatch."""
        from runtime.index import batches

        try:
            batch = batches.read(self._store, self._space(index, model), batch_id)
        except ObjectMissing:
            return None
        return batch.rows, batch.vectors

    def write_batch(
        self,
        index: str,
        batch_id: str,
        rows: Sequence[Row],
        vectors: Vectors,
        model: str,
        made: str = "",
        backends: Sequence[str] = (),
    ) -> str:
        """Commit a batch once and return its path in the store."""
        from runtime.index import batches

        space = self._space(index, model)
        path = batches.write(self._store, space, batch_id, list(rows), vectors, model, made, backends)
        measures.count(self._client, measures.BATCHES, {index: 1})
        return path

    def chunking(self, index: str) -> Chunking:
        """How texts are cut for this index."""
        return self._chunking(index)

    def extraction(self, index: str) -> Extraction:
        """How documents of this index are read."""
        return self._extraction(index)

    def kept(self, index: str, documents: Sequence[tuple[str, str, str]], model: str) -> Iterator[Kept]:
        """What the newest version holds of documents (bucket, key, etag) and of others with the same etag."""
        current = self._newest(layout.check_name(index))
        return self._offers.of(current, documents, model) if current else iter(())

    def migrate(
        self, index: str, models: Models, *, run: str, task: str, stop: Callable[[], bool], report: Progress
    ) -> Migration:
        """Bring an index to another model, or to its own what came in another one's vectors, until `stop` says so."""
        from runtime.index import migration
        from runtime.index.migrate import Migrator

        layout.check_name(index)
        migrator = Migrator(self._store, self._client, self._cache, self._builder.build, self._tell)
        return migration.step(self._client, migrator, index, models, run=run, task=task, stop=stop, report=report)

    def move(
        self, index: str, engine: str, *, recall: float, run: str, task: str, stop: Callable[[], bool], report: Progress
    ) -> Migration:
        """Raises BadInput: `runtime.index.engines` knows other engines than this one."""
        raise BadInput(f"Index {index} cannot go to {engine} from here.")

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
        report, current = self._builder.build(layout.check_name(index), batches)
        if current:
            self._known[index] = current  # need not be read again
        if current and report.published:
            self._numbers.raise_to(index, current.max_seq)
        late = self._late(index, current, batches) if current and current.native else 0
        crowded = current is not None and not current.held and any(self._compactor.chosen(current))
        return replace(report, late=late, crowded=crowded and lease.ask(self._client, index))

    def compact(self, index: str) -> CompactReport:
        """Merge segments into one, where there are many or much of them is dead. Builds go on meanwhile."""
        return self._compactor.compact(layout.check_name(index))

    def rebuild(self, index: str, why: str) -> BuildReport:
        """Publish a version that is built from the stored batches alone, whatever the one before is made of."""
        report, current = self._builder.rebuild(layout.check_name(index), why)
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
        return current.described() if (current := self._newest(index)) else None

    def versions(self, index: str, limit: int | None = None) -> list[IndexVersion]:
        """The newest `limit` versions (None: all) whose manifest is still stored, newest first."""
        generations = sorted((number for number, _ in manifest.listed(self._store, index)), reverse=True)[:limit]
        return [manifest.read(self._store, index, generation).described() for generation in generations]

    def rollback(self, index: str, generation: int) -> IndexVersion:
        """Publish the content of an older generation again and hold it; readers are told. Raises BadInput."""
        return rollback(self._store, self._client, layout.check_name(index), generation, self._tell).described()

    def release(self, index: str) -> tuple[IndexVersion, bool]:
        """Let builds go on; the current version, and whether it was held until now. Raises BadInput."""
        current, held = release(self._store, self._client, layout.check_name(index), self._tell)
        return current.described(), held

    def names(self) -> list[str]:
        """The indexes that have at least one batch or version."""
        return names.stored(self._store)

    def cleanup(self, index: str, older_than: float) -> dict[str, int]:
        """Remove what no kept version needs and is older than `older_than` seconds; counts by kind."""
        from runtime.index.retention import Retention

        retention = Retention(self._store, self._client, self._cache, clock=self._clock)
        return retention.cleanup(layout.check_name(index), older_than)

    @cached_property
    def _builder(self) -> Builder:
        from runtime.index.writer import Builder

        return Builder(
            self._store,
            self._client,
            self._cache,
            tell=self._tell,
            merge=self._compactor.compact,
            hybrid=self._hybrid,
        )

    @cached_property
    def _compactor(self) -> Compactor:
        from runtime.index.compact import Compactor

        return Compactor(self._store, self._client, self._cache, tell=self._tell, hybrid=self._hybrid)

    @cached_property
    def _offers(self) -> Offers:
        from runtime.index.kept import Offers

        return Offers(self._store, self._cache)

    @cached_property
    def _cache(self) -> SegmentCache:
        from runtime.index.cache import SegmentCache

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

    def _space(self, index: str, model: str) -> str:
        """Whose batches hold the vectors of `model`."""
        current = self._known.get(index) or self._newest(index)
        if current and not current.native and model not in ("", current.model):
            current = self._newest(index)  # it may have been migrated since
        return layout.space(index, model or current.model, current.native) if current else index

    def _late(self, index: str, current: Manifest, named: Sequence[str]) -> int:
        """How many batches came in another model's vectors; all are looked for only from time to time."""
        from runtime.index.spaces import waiting

        path = layout.batches(current.space)
        strange = any(not self._stored(f"{path}{name}/{layout.ROWS}") for name in named)
        if not strange and time.monotonic() < self._next_look.get((current.space, current.restores), 0.0):
            return 0
        began = time.monotonic()
        late = len(waiting(self._store, index, current.space).batches)
        pause = max(LATE_SECONDS, (time.monotonic() - began) / LATE_SHARE)
        self._next_look[current.space, current.restores] = time.monotonic() + pause
        return late

    def _stored(self, key: str) -> bool:
        with contextlib.suppress(ObjectMissing):
            return bool(self._store.head(self._store.bucket, key))
        return False

    def _tell(self, current: Manifest, before: Manifest | None = None) -> int:
        """Announce a version, with what is new in it to who has the one `before`; how many listened."""
        if current.index != layout.own(current.index):
            return 0  # nobody answers from it yet
        said = announcement.encode(current, before, log_fields.traceparent())
        with translated():
            return int(self._client.publish(keys.SWAP_CHANNEL, said))
