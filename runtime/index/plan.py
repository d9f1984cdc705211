"""What a build changes, decided from tables of documents alone: who wins, what dies, which segments are merged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.index.docs import PUT, Docs, find, newer, rows_of, winners

MAX_SEGMENTS = 8
MAX_DEAD = 0.5
GROWTH = 2
"""A segment is merged with smaller ones when it is at most so many times as large as all of them together: the sizes
stay a geometric series, so a document is rewritten a few times in its life, however large the index grows."""


@dataclass(slots=True)
class Old:
    """A segment of the version before: its documents and which of its rows are dead."""

    docs: Docs
    dead: NDArray[np.bool_]
    changed: bool = False

    @property
    def live_documents(self) -> int:
        puts = self.docs[(self.docs["op"] == PUT) & (self.docs["count"] > 0)]
        return int((~self.dead[puts["first"]]).sum()) if len(puts) else 0

    @property
    def live(self) -> int:
        return len(self.dead) - int(self.dead.sum())

    @property
    def size(self) -> int:
        return len(self.dead) + len(self.docs)


def settle(old: list[Old], new: Docs) -> Docs:
    """The versions in `new` that win over all others; rows of `old` that they beat are marked dead.

    A version that came late, with a lower seq than one that is known (a delete counts), is left out.
    """
    new = new[winners(new)]
    for segment in old:
        new = new[~_beaten(new, segment.docs)]
    for segment in old:
        at = find(segment.docs, new)
        rows = rows_of(segment.docs[at[at >= 0]])
        if len(rows) and not segment.dead[rows].all():
            segment.dead[rows] = True
            segment.changed = True
    return new


def merging(old: list[Old], new: Docs) -> list[bool]:
    """Which of the old segments become one with the new documents.

    None while there is room for one more; else the smallest ones. All of them when more rows are dead than live.
    """
    rows = sum(len(segment.dead) for segment in old)
    dead = sum(int(segment.dead.sum()) for segment in old)
    incoming = int(new["count"].sum(dtype=np.int64))
    if dead > MAX_DEAD * (rows + incoming):
        return [True] * len(old)
    chosen = [False] * len(old)
    if len(old) < MAX_SEGMENTS:
        return chosen
    total = incoming + len(new)
    for place in sorted(range(len(old)), key=lambda place: old[place].size):
        if any(chosen) and old[place].size > GROWTH * total:
            break
        chosen[place] = True
        total += old[place].size
    return chosen


def survivors(old: list[Old], new: Docs, chosen: list[bool]) -> list[Docs]:
    """For a merge: the documents to take from each chosen segment, then those of `new`.

    Deletes stay in the table, so that a late version of a deleted document still loses.
    """
    tables = [*(segment.docs for segment, one in zip(old, chosen, strict=True) if one), new]
    everything = np.concatenate(tables)
    best = winners(everything)
    for segment, one in zip(old, chosen, strict=True):
        if not one:
            best = best[~_beaten(everything[best], segment.docs)]
    starts = np.cumsum([0, *(len(table) for table in tables)])
    return [
        table[best[(best >= start) & (best < end)] - start]
        for table, start, end in zip(tables, starts[:-1], starts[1:], strict=True)
    ]


def _beaten(docs: Docs, table: Docs) -> NDArray[np.bool_]:
    """Elementwise: does the sorted `table` hold a version that `docs` do not win over?"""
    at = find(table, docs)
    known = np.flatnonzero(at >= 0)
    beaten = np.zeros(len(docs), bool)
    beaten[known] = ~newer(docs[known], table[at[known]])
    return beaten
