"""What a new version is built upon: the segments of the version before, and what changes about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import faiss
import numpy as np
from numpy.typing import NDArray

from runtime.errors import CorruptSegment
from runtime.index.cache import SegmentCache
from runtime.index.docs import Bits
from runtime.index.included import Batch, Included, of_segment
from runtime.index.manifest import Manifest, SegmentRef
from runtime.index.plan import Old
from runtime.index.segment import TABLE, load_docs


@dataclass(frozen=True, slots=True)
class Base:
    """Segments with what is known of each; nothing here is as large as an index, and most of it is only mapped."""

    refs: Sequence[SegmentRef]
    old: Sequence[Old]
    included: Sequence[Included]

    def holds(self, batches: Sequence[Batch]) -> NDArray[np.bool_]:
        """Elementwise: has this batch, with this etag, been read into any segment?"""
        found = np.zeros(len(batches), bool)
        for included in self.included:
            found |= included.holds(batches)
        return found

    def has(self, batch_id: str) -> bool:
        """Whether a batch of this id has been read, whatever its etag."""
        return any(included.has(batch_id) for included in self.included)

    def changed(self) -> tuple[list[SegmentRef], dict[str, bytes]]:
        """The segments as they are now, and the tombstones that came to be, by name."""
        made: dict[str, bytes] = {}
        refs = [changed(ref, old, made) for ref, old in zip(self.refs, self.old, strict=True)]
        return refs, made


def load(cache: SegmentCache, current: Manifest | None, known: dict[str, Included] | None = None) -> Base:
    """The base of a build on `current`. Raises CorruptSegment where a part is damaged, gone or of another FAISS.

    `known` keeps the lists of batches from one build to the next: those of earlier releases are not mapped.
    """
    if current is None:
        return Base((), (), ())
    index = current.index
    cache.bring(
        index, [ref.segment for ref in current.segments], [ref.tombstones for ref in current.segments if ref.tombstones]
    )
    metas = [cache.meta(index, ref.segment) for ref in current.segments]
    if strange := sorted({meta.faiss for meta in metas if not meta.usable}):
        raise CorruptSegment(f"Index {index!r} was written by FAISS {', '.join(strange)}; this is {faiss.__version__}.")
    old = [load_old(cache, index, ref) for ref in current.segments]
    known = {} if known is None else known
    names = [ref.segment for ref in current.segments]
    included = [known[name] if name in known else of_segment(cache, index, name) for name in names]
    known.clear()
    known.update(zip(names, included, strict=True))
    return Base(current.segments, old, included)


def load_old(cache: SegmentCache, index: str, ref: SegmentRef) -> Old:
    """One segment, with a copy of its tombstones that may be added to."""
    docs = load_docs(cache.folder(index, ref.segment, (TABLE,)))
    dead: Bits = np.zeros((ref.vectors + 7) // 8, np.uint8)
    if ref.tombstones:
        dead = np.array(cache.tombstones(index, ref.tombstones, ref.vectors))
    return Old(docs, dead, ref.live, ref.documents)


def changed(ref: SegmentRef, old: Old, made: dict[str, bytes]) -> SegmentRef:
    """A segment with the tombstones it has now, which are put into `made`."""
    if not old.changed:
        return ref
    bits = old.dead.tobytes()
    name = sha256(bits).hexdigest()
    made[name] = bits
    return SegmentRef(ref.segment, name, ref.vectors, old.live, old.documents, ref.bytes, ref.kind)
