"""A version in memory: its segments, each with the tombstones that this version has for it."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.context import IndexVersion
from runtime.index.docs import Bits, Vectors
from runtime.index.lexical import Lookup
from runtime.index.manifest import Manifest, SegmentRef
from runtime.index.segment import Segment


@dataclass(frozen=True, slots=True)
class Loaded:
    """A version in memory."""

    manifest: Manifest
    described: IndexVersion
    parts: tuple[Live, ...]


class Live:
    """A segment with the tombstones of one version."""

    def __init__(self, ref: SegmentRef, segment: Segment, dead: Bits | None) -> None:
        self.ref, self.segment = ref, segment
        self._dead, self._alive = dead, None if dead is None else _complement(dead, len(segment))

    def is_dead(self, row: int) -> bool:
        return self._dead is not None and bool(self._dead[row >> 3] >> (row & 7) & 1)

    def search(
        self, queries: Vectors, k: int, allowed: Bits | None = None, *, exact: bool = False
    ) -> list[list[tuple[float, int]]]:
        """For each query, shape (n, dimensions): the best `k` living rows as (score, row), best first.

        `allowed`: only these rows are looked at (no bit beyond the last row is set). `exact`: see Segment.search.
        """
        found = self.segment.search(queries, k, self._living(allowed), exact=exact)
        return [list(zip(scores.tolist(), rows.tolist(), strict=True)) for scores, rows in found]

    def worded(self, asked: Lookup, k: int, allowed: Bits | None = None) -> list[tuple[float, int]]:
        """The best `k` living rows by their words as (score, row), best first; none where the segment has no words."""
        lexical = self.segment.lexical
        return lexical.search(asked, k, self._living(allowed)) if lexical else []

    def _living(self, allowed: Bits | None) -> Bits | None:
        if self._alive is None:
            return allowed
        return self._alive if allowed is None else allowed & self._alive


def _complement(bits: Bits, count: int) -> Bits:
    others = ~bits
    if count % 8:  # the last byte has bits that are no rows
        others[-1] &= (1 << count % 8) - 1
    return others
