"""What a build changes, decided from tables of documents alone: who wins, what dies, whether all is merged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.index.docs import PUT, Docs, find, newer, rows_of, winners

MAX_SEGMENTS = 8
MAX_DEAD = 0.5


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


def settle(old: list[Old], new: Docs) -> Docs:
    """The versions in `new` that win over all others; rows of `old` that they beat are marked dead.

    A version that came late, with a lower seq than one that is known (a delete counts), is left out.
    """
    new = new[winners(new)]
    lost = np.zeros(len(new), bool)
    for segment in old:
        at = find(segment.docs, new)
        known = np.flatnonzero(at >= 0)
        lost[known] |= ~newer(new[known], segment.docs[at[known]])
    new = new[~lost]
    for segment in old:
        at = find(segment.docs, new)
        rows = rows_of(segment.docs[at[at >= 0]])
        if len(rows) and not segment.dead[rows].all():
            segment.dead[rows] = True
            segment.changed = True
    return new


def merges(old: list[Old], new: Docs) -> bool:
    """Too many segments, or more dead rows than live ones?"""
    if len(old) + 1 > MAX_SEGMENTS:
        return True
    rows = sum(len(segment.dead) for segment in old)
    dead = sum(int(segment.dead.sum()) for segment in old)
    return bool(old) and dead > MAX_DEAD * (rows + int(new["count"].sum(dtype=np.int64)))


def survivors(old: list[Old], new: Docs) -> list[Docs]:
    """For a merge: the documents to take from each old segment, then those of `new`.

    Deletes stay in the table, so that a late version of a deleted document still loses.
    """
    tables = [*(segment.docs for segment in old), new]
    chosen = winners(np.concatenate(tables))
    starts = np.cumsum([0, *(len(table) for table in tables)])
    return [
        table[chosen[(chosen >= start) & (chosen < end)] - start]
        for table, start, end in zip(tables, starts[:-1], starts[1:], strict=True)
    ]
