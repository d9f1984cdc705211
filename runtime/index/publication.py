"""One build on its way into the index: what it has read and written stays good, whatever is published meanwhile."""

from __future__ import annotations

import time
import uuid
from dataclasses import replace
from pathlib import Path

import faiss
import numpy as np

from runtime.context import BuildReport, Store
from runtime.errors import CorruptSegment, Retry
from runtime.index import base, manifest, opening, plan, segment_write
from runtime.index.attribute_terms import Collector
from runtime.index.base import Base
from runtime.index.cache import SegmentCache
from runtime.index.docs import PUT, Docs
from runtime.index.early import Early
from runtime.index.included import Included
from runtime.index.intake import Intake, Wanted, gather, take
from runtime.index.lease import BuildLease
from runtime.index.manifest import Manifest, SegmentRef
from runtime.index.segment import INDEX, Meta
from runtime.index.segment_write import Part
from runtime.index.sent import Sent
from runtime.index.spool import Spool
from runtime.index.whole import NotWhole

MANY_BEATEN = 64
"""So many batches that hold nothing new are worth a version of their own."""


class Publication:
    """Batches are read once; a version that somebody else published in between costs a look at its tables."""

    def __init__(
        self,
        store: Store,
        cache: SegmentCache,
        index: str,
        folder: Path,
        spool: Spool,
        wanted: Wanted,
        lease: BuildLease,
        anew: str,
        words: bool,
    ) -> None:
        """`anew`: why nothing that is there is built upon; empty where it is. `words`: to search by, too."""
        self._store, self._cache, self._index, self._folder = store, cache, index, folder
        self._spool, self._wanted, self._lease, self._anew, self._words = spool, wanted, lease, anew, words
        self._intake: Intake | None = None
        self._space = index
        self._made: tuple[Docs, SegmentRef, int] | None = None
        self.unwritten: Collector | None = None
        """Of a segment of whole batches: what filters ask of its rows."""

    def attempt(self, current: Manifest | None, known: dict[str, Included]) -> tuple[BuildReport, Manifest | None]:
        """Publish on `current`; the report and the version that is current then. `known`: see base.load.

        Raises PreconditionFailed where another one was published meanwhile, CorruptSegment where `current` cannot be
        built upon, NotWhole where the spool has to read vectors, and Retry where another engine holds the index.
        """
        if current and current.held:
            at = current.restores or current.generation
            warning = f"Index {self._index!r} is held at generation {at} by a rollback; release it to build."
            return report(self._index, current, (warning,)), current
        if current and current.remote:  # it has no segments: what is built upon it would be all that there is
            raise Retry(f"Index {self._index!r} got another engine while it was built. Build it again.", after=1.0)
        below = base.load(self._cache, None if self._anew else current, known)
        if current and not self._anew:
            opening.finish(self._cache, current)
        intake = self._taken(below, current)
        if rewritten := self._rewritten(below):
            raise CorruptSegment(f"The commit of batch {rewritten} was written again; a segment had its rows of it.")
        warnings = (*([self._anew] if self._anew else []), *intake.warnings)
        new = plan.settle(below.old, self._spool.docs())
        if not len(new) and (current is None or self._beaten(below) < MANY_BEATEN):
            return report(self._index, current, warnings), current
        self._lease.renew()
        made = manifest.successor(current, self._version(below, new, current, intake))
        made = manifest.commit(self._store, made)
        done = report(self._index, made, warnings)
        return replace(done, published=True, batches=len(self._spool.batches)), made

    def _rewritten(self, below: Base) -> str:
        """A new batch that a segment of whole batches is made of as it was before: no other host could open it."""
        for ref, included in zip(below.refs, below.included, strict=True):
            if self._cache.meta(self._index, ref.segment).whole:
                same = included.holds(self._spool.batches).tolist()
                for (batch, _), known in zip(self._spool.batches, same, strict=True):
                    if not known and included.has(batch):
                        return batch
        return ""

    def _beaten(self, below: Base) -> int:
        """How many batches came too late for any of their documents. A segment of no document that names them keeps
        later builds from reading them again, and lets cleanup remove them."""
        return int((~below.holds(self._spool.batches)).sum())

    def _taken(self, below: Base, current: Manifest | None) -> Intake:
        spool = self._spool
        if self._intake is not None:
            if current and spool.dimensions and (current.dimensions, current.model) != (spool.dimensions, spool.model):
                raise Retry(f"Index {self._index!r} got another model while it was built. Build it again.", after=1.0)
            return self._intake
        if current:
            spool.dimensions, spool.model = current.dimensions, current.model
        space = self._space = current.space if current else self._index
        skipped = current.skipped if current else ()
        taken = None
        if self._wanted.named and current and not self._anew:
            taken = take(self._store, space, spool, self._wanted, below, skipped, self._lease.renew)
        self._intake = taken or gather(self._store, space, spool, self._wanted, below, skipped, self._lease.renew)
        return self._intake

    def _version(self, below: Base, new: Docs, current: Manifest | None, intake: Intake) -> Manifest:
        """Everything that it names is in the store."""
        refs, tombstones = below.changed()
        if self._made and np.array_equal(self._made[0], new):
            segment_write.upload(self._store, self._index, self._folder, None, tombstones)
        else:
            self._made = self._write(new, tombstones)
        self._cache.adopt_tombstones(self._index, tombstones)
        _, ref, max_seq = self._made
        return Manifest(
            index=self._index,
            generation=0,
            created=time.time(),
            builder=uuid.uuid4().hex,
            dimensions=self._spool.dimensions,
            model=self._spool.model,
            faiss=faiss.__version__,
            max_seq=max(max_seq, current.max_seq if current else 0),
            segments=(*refs, ref),
            skipped=tuple(intake.skipped),
            native=current.native if current else "",
            backends=tuple(sorted({*self._spool.backends, *(current.backends if current and not self._anew else ())})),
        )

    def _write(self, new: Docs, tombstones: dict[str, bytes]) -> tuple[Docs, SegmentRef, int]:
        parts = [Part(self._spool.stored(), new)]
        if parts[0].source.whole and parts[0].rows < parts[0].source.rows:
            raise NotWhole
        target = self._folder / uuid.uuid4().hex
        target.mkdir()
        sent = Sent(self._store, self._index, target)
        try:
            sha, meta = segment_write.write(
                target,
                parts,
                dimensions=self._spool.dimensions,
                model=self._spool.model,
                builder=uuid.uuid4().hex,
                batches=self._spool.batches,
                words=self._words,
                space="" if self._spool.sends else self._space,
                sent=sent,
            )
            segment_write.verify(target, sha, meta, parts[0].rows)
        except BaseException:
            sent.give_up()
            raise
        ahead = sent if sent.names else self._ahead(meta)
        name = segment_write.upload(self._store, self._index, target, (sha, meta), tombstones, ahead)
        if meta.whole:
            opening.owe(target)
        self._cache.adopt(self._index, target, name)
        self.unwritten = parts[0].source.attributes if meta.whole else None
        documents = int((new["op"] == PUT).sum())
        return new, SegmentRef(name, None, meta.vectors, meta.vectors, documents, meta.bytes, meta.kind), meta.max_seq

    def _ahead(self, meta: Meta) -> Early | None:
        """What was sent of the segment's vectors, where it holds all rows that were read, and as many as expected."""
        early = self._spool.taken()
        if early and (meta.vectors, meta.files[INDEX][1]) != (len(self._spool), early.size):
            early.give_up()
            return None
        return early


def report(index: str, current: Manifest | None, warnings: tuple[str, ...]) -> BuildReport:
    """What is there, where nothing was published."""
    return BuildReport(
        index=index,
        generation=current.generation if current else 0,
        version=current.version if current else "",
        published=False,
        vectors=current.vectors if current else 0,
        documents=current.documents if current else 0,
        batches=0,
        warnings=warnings,
    )
