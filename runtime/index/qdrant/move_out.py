"""An index from Qdrant back to FAISS: segments are built from the stored batches, and nothing is embedded again.

The new version grows in a chain of manifests of its own, a few hundred batches at a time, while Qdrant answers. When it
holds what Qdrant does, and finds what an exact scan finds, one manifest makes it the index's.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace

import faiss
import redis

from runtime.context import BuildReport, Store
from runtime.errors import PreconditionFailed, Retry
from runtime.index import base, batches, layout, manifest
from runtime.index.cache import SegmentCache
from runtime.index.lease import BuildLease
from runtime.index.manifest import Manifest
from runtime.index.migrate import Progress, discard
from runtime.index.qdrant.mover import ROUNDS, Build, Mover, Tell
from runtime.index.qdrant.target import Target, compare_counts, compare_recall, movable
from runtime.index.recall import measure, opened

STEP = 256
"""Batches that are built at once; what is done again after a crash."""

Take = Callable[[str, Sequence[str]], tuple[BuildReport, Manifest | None]]


class MoveOut(Mover):
    """Moves indexes to FAISS. `take` builds named batches in files."""

    def __init__(
        self, store: Store, client: redis.Redis, cache: SegmentCache, build: Build, tell: Tell, take: Take
    ) -> None:
        super().__init__(store, client, cache, build, tell)
        self._take = take

    def migrate(
        self, index: str, target: Target, stop: Callable[[], bool], report: Callable[[int, int], object]
    ) -> Progress:
        """Work until FAISS answers, or `stop` says so; `report` hears of batches (done, total).

        Raises BadInput, and IndexUnavailable where the new version does not hold, or find, what it should.
        """
        shadow = layout.shadow(index, target.name)
        total = 0
        for _ in range(ROUNDS):
            current = movable(index, manifest.newest(self._store, index))
            if current.engine == target.name:
                discard(self._store, shadow)
                return Progress(total, total, generation=current.generation)
            self._prepare(shadow, current)
            missing, total = self._missing(index, shadow)
            report(total - len(missing), total)
            for first in range(0, len(missing), STEP):
                if stop():
                    return Progress(total - len(missing) + first, total, left=True)
                self._take(shadow, missing[first : first + STEP])
                report(min(total, total - len(missing) + first + STEP), total)
            self._build(index)
            made = self._switch(index, shadow, target)
            if made:
                damaged = tuple(skip.reason for skip in made.skipped if skip not in current.skipped)
                return Progress(total, total, generation=made.generation, damaged=damaged)
        return Progress(total, total, left=True)

    def _prepare(self, shadow: str, current: Manifest) -> None:
        """An empty version says which model the builds of the chain are for, and whose batches they take."""
        if manifest.newest(self._store, shadow):
            return
        native = current.native or current.model
        first = replace(_files(current), index=shadow, max_seq=0, skipped=(), native=native, backends=(), previous=None)
        try:
            manifest.commit(self._store, manifest.successor(None, first))
        except PreconditionFailed as error:
            raise Retry(f"Another migration of {shadow} has just begun.", after=1.0) from error

    def _missing(self, index: str, shadow: str) -> tuple[list[str], int]:
        new = manifest.newest(self._store, shadow)
        current = manifest.newest(self._store, index)
        listed = batches.listing(self._store, current.space if current else index)
        # What cannot be read is left out: where something of it is needed, fewer are counted at the end.
        skipped = {skip.batch for version in (current, new) if version for skip in version.skipped}
        committed = [(name, one.rows) for name, one in listed.items() if one.rows and name not in skipped]
        read = base.load(self._cache, new, {}).holds(committed).tolist()
        return [name for (name, _), old in zip(committed, read, strict=True) if not old], len(committed)

    def _switch(self, index: str, shadow: str, target: Target) -> Manifest | None:
        """Let FAISS answer; None where something came that it lacks."""
        new = manifest.newest(self._store, shadow)
        if new is None:
            return None
        measured = measure(opened(self._cache, new), sample=target.sample)
        with BuildLease(self._client, index):
            current = movable(index, manifest.newest(self._store, index))
            if self._missing(index, shadow)[0]:
                return None
            compare_counts(index, target, current, new.vectors, new.documents)
            compare_recall(index, target, measured.recall if measured else 1.0)
            there = replace(
                new,
                index=index,
                max_seq=max(current.max_seq, new.max_seq),
                native=current.native,
                skipped=tuple({skip.batch: skip for skip in (*current.skipped, *new.skipped)}.values()),
            )
            made = self._publish(current, there)
        discard(self._store, shadow)
        return made


def _files(current: Manifest) -> Manifest:
    """Like this version, with nothing in it, held in files."""
    return replace(
        current,
        generation=0,
        created=time.time(),
        builder=uuid.uuid4().hex,
        faiss=faiss.__version__,
        segments=(),
        kind="flat",
        remote=None,
        ahead=None,
        held=False,
        restores=None,
        digest="",
        etag="",
    )
