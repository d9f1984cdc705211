"""Compaction: segments are merged into one while builds go on; what they publish meanwhile is honoured at the end.

The merged segment is written and uploaded from one version. Then it takes the place of its sources in whatever version
is the newest, with tombstones for all that newer segments have beaten. The conditional PUT of that manifest decides;
where a source, or anything that was known when it was written, is no longer there (a rollback, an index built anew),
the merge is dropped.
"""

from __future__ import annotations

import itertools
import logging
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import faiss
import numpy as np
import redis

from runtime.context import CompactReport, Store
from runtime.errors import PreconditionFailed, Retry
from runtime.index import base, batches, included, layout, manifest, pieces, plan, segment_write
from runtime.index.base import Base
from runtime.index.body import Stored
from runtime.index.cache import SegmentCache
from runtime.index.docs import PUT, Docs
from runtime.index.included import Batch
from runtime.index.lease import BuildLease, CompactLease
from runtime.index.lexical_file import LEXICAL
from runtime.index.manifest import Manifest, SegmentRef
from runtime.index.plan import Old
from runtime.index.quiet import quietly
from runtime.index.segment import TABLE, load_docs
from runtime.index.segment_write import Part

ATTEMPTS = 20
log = logging.getLogger("tundish.index")


@dataclass(frozen=True, slots=True)
class Merged:
    """A merged segment that is in the store, but in no version yet."""

    ref: SegmentRef
    docs: Docs
    sources: frozenset[str]
    seen: frozenset[str]
    """All segments of the version that it was made from."""


class Compactor:
    """Compacts indexes of one store, each at most once at a time."""

    def __init__(
        self,
        store: Store,
        client: redis.Redis,
        cache: SegmentCache,
        *,
        tell: Callable[[Manifest, Manifest | None], object],
        hybrid: Callable[[str], bool] = lambda index: False,
    ) -> None:
        """`tell` announces a version, and is told the one before it; `hybrid` says which indexes have words to search
        by."""
        self._store, self._client, self._cache, self._tell, self._hybrid = store, client, cache, tell, hybrid

    def chosen(self, current: Manifest) -> list[bool]:
        """Which segments are to be merged; also those without words of an index that is searched by them."""
        chosen = plan.chosen(current.segments)
        if not self._hybrid(layout.own(current.index)):
            return chosen
        return [
            one or bool(ref.vectors and LEXICAL not in self._cache.meta(current.index, ref.segment).files)
            for one, ref in zip(chosen, current.segments, strict=True)
        ]

    def compact(self, index: str) -> CompactReport:
        """Merge what should be merged, and publish. Raises CorruptSegment where a source is damaged or gone."""
        with CompactLease(self._client, index) as lease:
            current = manifest.newest(self._store, index)
            if not lease.held:
                return _report(index, current, "Another compaction of it is under way.")
            if current is None or not any(self.chosen(current)):
                return _report(index, current, "There is nothing to merge.")
            if current.held:
                return _report(index, current, "A rollback holds it; release it first.")
            with self._cache.workspace(index) as folder:
                merged = quietly(lambda: self._merge(current, folder))
            with BuildLease(self._client, index) as turn:  # builders need not meet this one by chance
                committed = self._commit(index, merged, turn)
        if committed is None:
            return _report(index, current, "It was rolled back or built anew meanwhile; nothing was merged.")
        before, made = committed
        self._tell(made, before)
        manifest.write_hint(self._store, made)
        if index == layout.own(index):  # a migration must not drop what the index answers from
            self._cache.trim(index, made.parts)
        return replace(_report(index, made, ""), published=True, merged=len(merged.sources))

    def _merge(self, current: Manifest, folder: Path) -> Merged:
        index, chosen = current.index, self.chosen(current)
        faiss.omp_set_num_threads(1)  # of this thread
        below = base.load(self._cache, current)
        tables = plan.survivors([old.docs for old in below.old], chosen)
        names, tables = self._remembered(current, below, chosen, tables)
        parts = []
        for ref, docs in zip(itertools.compress(below.refs, chosen), tables, strict=True):
            meta, source = self._cache.meta(index, ref.segment), self._cache.folder(index, ref.segment)
            listed = pieces.load(source)[1] if meta.refers else ()
            parts.append(Part(Stored(source, meta.vectors, meta.dimensions, meta.files, pieces=listed), docs))
        target = folder / "segment"
        target.mkdir()
        sha, meta = segment_write.write(
            target,
            parts,
            dimensions=current.dimensions,
            model=current.model,
            builder=uuid.uuid4().hex,
            batches=names,
            words=self._hybrid(layout.own(index)),
            space=current.space,
        )
        segment_write.verify(target, sha, meta, sum(part.rows for part in parts))
        name = segment_write.upload(self._store, index, target, (sha, meta), {})
        self._cache.adopt(index, target, name)
        documents = sum(int((docs["op"] == PUT).sum()) for docs in tables)
        return Merged(
            SegmentRef(name, None, meta.vectors, meta.vectors, documents, meta.bytes, meta.kind),
            load_docs(self._cache.folder(index, name, (TABLE,))),
            frozenset(ref.segment for ref in itertools.compress(below.refs, chosen)),
            frozenset(ref.segment for ref in below.refs),
        )

    def _remembered(
        self, current: Manifest, below: Base, chosen: Sequence[bool], tables: Sequence[Docs]
    ) -> tuple[list[Batch], list[Docs]]:
        """The batches of the merged segment, and the tables with `batch` counted in that list.

        Where most of the index is merged, batches that are no longer stored and that no document is from are
        forgotten: a listing of all is little beside such a merge, and the list is as long as what is stored.
        """
        present = None
        bytes_merged = sum(ref.bytes for ref in itertools.compress(below.refs, chosen))
        if 2 * bytes_merged > current.bytes:
            listed = batches.listing(self._store, current.space)
            present = included.packed([(name, found.rows) for name, found in listed.items() if found.rows])
        names: list[Batch] = []
        renumbered = []
        for known, docs in zip(itertools.compress(below.included, chosen), tables, strict=True):
            needed = np.ones(len(known), bool) if present is None else np.isin(known.names, present)
            needed[docs["batch"]] = True
            numbers = np.cumsum(needed) - 1 + len(names)
            renumbered.append(np.array(docs))
            renumbered[-1]["batch"] = numbers[docs["batch"]]
            names += itertools.compress(known, needed)
        return names, renumbered

    def _commit(self, index: str, merged: Merged, turn: BuildLease) -> tuple[Manifest, Manifest] | None:
        """Put the merged segment in the place of its sources; the version before and the one that was made. None where
        that cannot be done any more."""
        current: Manifest | None = None
        for _ in range(ATTEMPTS):
            current = manifest.newest(self._store, index, current)
            if current is None or current.held or not merged.seen <= {ref.segment for ref in current.segments}:
                return None
            turn.renew()
            made = self._version(current, merged)
            try:
                return current, manifest.commit(self._store, manifest.successor(current, made))
            except PreconditionFailed:
                log.info("index %s: a build was faster than its compaction; once more on that version", index)
        raise Retry(f"Builders of index {index!r} were faster {ATTEMPTS} times. Compact it again.", after=1.0)

    def _version(self, current: Manifest, merged: Merged) -> Manifest:
        old = Old(merged.docs, np.zeros((merged.ref.vectors + 7) // 8, np.uint8), merged.ref.live, merged.ref.documents)
        for ref in current.segments:
            if ref.segment not in merged.seen:
                folder = self._cache.folder(current.index, ref.segment, (TABLE,))
                old.kill(plan.beaten_by(load_docs(folder), old.docs))
        tombstones: dict[str, bytes] = {}
        taken = base.changed(merged.ref, old, tombstones)
        segment_write.upload(self._store, current.index, Path(), None, tombstones)
        self._cache.adopt_tombstones(current.index, tombstones)
        kept = tuple(ref for ref in current.segments if ref.segment not in merged.sources)
        return replace(
            current,
            created=time.time(),
            builder=uuid.uuid4().hex,
            faiss=faiss.__version__,
            segments=(*kept, taken),
            restores=None,
            digest="",
            etag="",
        )


def _report(index: str, current: Manifest | None, note: str) -> CompactReport:
    return CompactReport(
        index=index,
        generation=current.generation if current else 0,
        version=current.version if current else "",
        published=False,
        merged=0,
        segments=len(current.segments) if current else 0,
        note=note,
    )
