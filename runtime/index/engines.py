"""The port to the indexes, whoever holds them: FAISS in files, or Qdrant on machines of its own.

What an index's newest version is made with decides; `engine` of functions.yaml is for one that has no version yet.
Batches, numbers and models are the same for all: they are what every version is made of.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import redis

from runtime.config.engine import FAISS, QDRANT, EngineSpec
from runtime.config.settings import Project
from runtime.context import BuildReport, CompactReport, IndexVersion, Kept, Migration, Models, Store
from runtime.errors import BadInput, EngineDown, ObjectMissing
from runtime.index import layout, manifest
from runtime.index.manifest import Manifest
from runtime.index.port import FaissIndex
from runtime.interfaces_index import Progress

if TYPE_CHECKING:
    from runtime.index.qdrant.engine import QdrantEngine

log = logging.getLogger("tundish.index")


def open_index(
    project: Callable[[], Project], store: Store, client: redis.Redis, cache_dir: Path | None = None
) -> Indexes:
    """The indexes of a project; what it says of them is looked up with every use."""
    index = Indexes(
        store,
        client,
        cache_dir,
        fresh=lambda name: project().model_of(name),
        hybrid=lambda name: project().is_hybrid(name),
        chunking=lambda name: project().chunking_of(name),
        extraction=lambda name: project().extraction_of(name),
    )
    index.engine_of = lambda name: project().engine_of(name)
    return index


class Indexes(FaissIndex):
    """Implements `context.Index` for indexes of both engines."""

    engine_of: Callable[[str], EngineSpec] = staticmethod(lambda index: EngineSpec())

    def build(self, index: str, batches: Sequence[str] = ()) -> BuildReport:
        if not self._is_remote(index):
            return super().build(index, batches)
        report, current = self.remote.builder.build(layout.check_name(index), batches)
        late = self._late(index, current, batches) if current and current.native else 0
        return replace(self._numbered(report, current), late=late)

    def rebuild(self, index: str, why: str) -> BuildReport:
        if not self._is_remote(index):
            return super().rebuild(index, why)
        report, current = self.remote.builder.rebuild(layout.check_name(index), why)
        return self._numbered(report, current)

    def compact(self, index: str) -> CompactReport:
        if not self._is_remote(index):
            return super().compact(index)
        current = self.current(index)
        note = "Qdrant merges its own segments."
        generation, version = (current.generation, current.version) if current else (0, "")
        return CompactReport(index, generation, version, False, 0, 0, note)

    def announce(self, index: str, generation: int | None = None) -> tuple[IndexVersion | None, int]:
        """As FaissIndex.announce; the alias in Qdrant names the newest version's collection afterwards."""
        told = super().announce(index, generation)
        known = self._known.get(index)  # as of a moment ago
        if known and known.remote and (current := self._newest(index)) and current.remote:
            self.remote.point(current)
        return told

    def rollback(self, index: str, generation: int) -> IndexVersion:
        """As FaissIndex.rollback: a version in Qdrant is seen again as it was, and the alias goes back. Raises BadInput
        where its collection is gone, and EngineDown."""
        with suppress(ObjectMissing):
            wanted = manifest.read(self._store, layout.check_name(index), generation)
            if wanted.remote and not self.remote.holds(wanted):
                raise BadInput(f"Generation {generation} of index {index!r} is not in Qdrant any more.")
        made = super().rollback(index, generation)
        self.announce(index)
        return made

    def cleanup(self, index: str, older_than: float) -> dict[str, int]:
        from runtime.index.retention import Retention

        retention = Retention(self._store, self._client, self._cache, clock=self._clock, used=self.remote.used)
        counts = retention.cleanup(layout.check_name(index), older_than)
        if self.remote.has_any(index):
            counts |= self._cleaned(index)
        return counts

    def _cleaned(self, index: str) -> dict[str, int]:
        """What was removed from Qdrant. Raises EngineDown where the index is there; what it left there may wait."""
        try:
            return self.remote.cleanup(index, self._clock)
        except EngineDown as error:
            current = self._newest(index)
            if current and current.remote:
                raise
            log.warning("index %s: what it left behind in Qdrant stays there for now: %s", index, error)
            return {}

    def kept(self, index: str, documents: Sequence[tuple[str, str, str]], model: str) -> Iterator[Kept]:
        current = self._newest(layout.check_name(index))
        if current is None or current.remote is None:
            return self._offers.of(current, documents, model) if current else iter(())
        from runtime.index.qdrant.keeping import kept

        return kept(self._store, self.remote.connect(index), current, documents, model)

    def migrate(
        self, index: str, models: Models, *, run: str, task: str, stop: Callable[[], bool], report: Progress
    ) -> Migration:
        if not self._is_remote(index):
            return super().migrate(index, models, run=run, task=task, stop=stop, report=report)
        from runtime.index import migration

        migrator = self.remote.migrator(self._cache)
        return migration.step(self._client, migrator, index, models, run=run, task=task, stop=stop, report=report)

    def move(
        self, index: str, engine: str, *, recall: float, run: str, task: str, stop: Callable[[], bool], report: Progress
    ) -> Migration:
        """Bring an index to another engine from its stored batches, until `stop` says so; the old one answers until
        the new one holds as much, and finds as many of the ten nearest as `recall` says."""
        from runtime.index import migration
        from runtime.index.qdrant.target import Target

        layout.check_name(index)
        if engine not in (FAISS, QDRANT):
            raise BadInput(f"There is no engine {engine}; there is {FAISS} and {QDRANT}.")
        mover = self.remote.mover(engine, self._cache, self._builder)
        target = Target(engine, recall)
        return migration.step(self._client, mover, index, target, run=run, task=task, stop=stop, report=report)

    @cached_property
    def remote(self) -> QdrantEngine:
        from runtime.index.qdrant.engine import QdrantEngine

        return QdrantEngine(self._store, self._client, self._engine, tell=self._tell)

    def _engine(self, index: str) -> EngineSpec:
        return self.engine_of(index)

    def _is_remote(self, index: str) -> bool:
        """Whether the newest version is Qdrant's; one that is to be, where there is none yet."""
        current = self._newest(layout.check_name(index))
        if current is None:
            return self.engine_of(index).engine == QDRANT
        return current.remote is not None

    def _numbered(self, report: BuildReport, current: Manifest | None) -> BuildReport:
        if current and report.published:
            self._numbers.raise_to(report.index, current.max_seq)
        return report
