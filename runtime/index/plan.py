"""What a build or a compaction changes, decided from tables and counts alone: who wins, what dies, what is merged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.index.docs import PUT, Bits, Docs, Positions, find, newer, rows_of, winners
from runtime.index.manifest import SegmentRef

MANY_SEGMENTS = 8
"""With more, compaction merges some: each costs every search a scan of its own."""

MOST_SEGMENTS = 32
"""With more, a builder merges some itself: nobody compacts."""

MAX_DEAD = 0.25
FEW_DEAD = 1000
"""Dead rows are scanned for nothing. Where they are more than a quarter of an index, the segments that hold most of
them are written anew; not for so few that nobody would notice."""

GROWTH = 2
"""A segment is merged with smaller ones when it is at most so many times as large as all of them together: the sizes
stay a geometric series, so a document is rewritten a few times in its life, however large the index grows."""

SMALL_BYTES = 2**20
"""Segments below this size are merged together, whatever the differences between them."""


@dataclass(slots=True)
class Old:
    """A segment that is built upon. `dead`: a bit a row; `live` rows and `documents` are what is searchable."""

    docs: Docs
    dead: Bits
    live: int
    documents: int
    changed: bool = False

    def kill(self, at: Positions) -> None:
        """The documents at these places have been beaten."""
        docs = self.docs[at]
        rows = rows_of(docs)
        rows = rows[~self._is_dead(rows)]
        if not len(rows):
            return
        puts = docs[(docs["op"] == PUT) & (docs["count"] > 0)]
        self.documents -= int((~self._is_dead(puts["first"].astype(np.int64))).sum())
        self.live -= len(rows)
        np.bitwise_or.at(self.dead, rows >> 3, (1 << (rows & 7)).astype(np.uint8))
        self.changed = True

    def _is_dead(self, rows: Positions) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = (self.dead[rows >> 3] >> (rows & 7).astype(np.uint8) & 1).astype(bool)
        return found


def settle(old: Sequence[Old], new: Docs) -> Docs:
    """The versions in `new` that win over all others, in the order of the hashes; what they beat in `old` is killed.

    A version that came late, with a lower seq than one that is known (a delete counts), is left out.
    """
    new = new[winners(new)]
    for segment in old:
        new = new[~_beaten(new, segment.docs)]
    for segment in old:
        at = find(segment.docs, new)
        segment.kill(at[at >= 0])
    return new


def chosen(refs: Sequence[SegmentRef]) -> list[bool]:
    """Which segments are to be merged into one; none where all is well."""
    rows = sum(ref.vectors for ref in refs)
    dead = rows - sum(ref.live for ref in refs)
    result = [False] * len(refs)
    if dead > max(FEW_DEAD, MAX_DEAD * rows):
        result = [ref.vectors - ref.live > MAX_DEAD * ref.vectors for ref in refs]
    if len(refs) - sum(result) + any(result) > MANY_SEGMENTS:
        total = 0.0
        for number, place in enumerate(sorted(range(len(refs)), key=lambda place: _size(refs[place]))):
            size = _size(refs[place])
            if number > 1 and size > GROWTH * total:
                break
            result[place] = True
            total += size
    return result


def survivors(old: Sequence[Docs], merged: Sequence[bool]) -> list[Docs]:
    """For a merge: the documents to take from each merged segment.

    Deletes stay in the table, so that a late version of a deleted document still loses.
    """
    tables = [docs for docs, one in zip(old, merged, strict=True) if one]
    everything = np.concatenate(tables)
    best = winners(everything)
    for docs, one in zip(old, merged, strict=True):
        if not one:
            best = best[~_beaten(everything[best], docs)]
    starts = np.cumsum([0, *(len(table) for table in tables)])
    return [
        table[best[(best >= start) & (best < end)] - start]
        for table, start, end in zip(tables, starts[:-1], starts[1:], strict=True)
    ]


def beaten_by(winners: Docs, table: Docs) -> Positions:
    """The places in the sorted `table` whose documents have a newer version among `winners`."""
    at = find(table, winners)
    known = np.flatnonzero(at >= 0)
    beaten: Positions = at[known][newer(winners[known], table[at[known]])]
    return beaten


def _size(ref: SegmentRef) -> float:
    """The bytes that are left when what is dead is left out, and what a segment costs however small it is."""
    return SMALL_BYTES + (ref.bytes * ref.live / ref.vectors if ref.vectors else ref.bytes)


def _beaten(docs: Docs, table: Docs) -> NDArray[np.bool_]:
    """Elementwise: does the sorted `table` hold a version that `docs` do not win over?"""
    at = find(table, docs)
    known = np.flatnonzero(at >= 0)
    beaten = np.zeros(len(docs), bool)
    beaten[known] = ~newer(docs[known], table[at[known]])
    return beaten
