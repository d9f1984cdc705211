"""Documents instead of chunks: each stands in the results once, with its best chunk."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from runtime.index.docs import Bits, Vectors, find, identity, table
from runtime.index.live import Live

FETCH, GROWTH = 4, 4
"""Chunks that are asked for at first, for each document; then so many times as many, until there are enough."""


def documents(part: Live, query: Vectors, k: int, allowed: Bits | None) -> list[tuple[float, int]]:
    """The best chunk, (score, row), of each of the `k` best documents in a part, best first.

    A document is in one part whole: all chunks of its version come from one batch.
    """
    count = min(FETCH * k, part.ref.live)
    while True:
        (chunks,) = part.search(query.reshape(1, -1), count, allowed)
        best: dict[tuple[str, str], tuple[float, int]] = {}
        for score, row in chunks:
            fields = part.segment.fields(row)
            best.setdefault((fields["bucket"], fields["key"]), (score, row))
        if len(best) >= k or len(chunks) < count or count == part.ref.live:
            return list(best.values())[:k]
        count = min(count * GROWTH, part.ref.live)


def further(part: Live, rows: Sequence[int], query: Vectors, allowed: Bits | None, least: float | None) -> list[int]:
    """How many other chunks the document of each row has that pass, and whose score is not below `least`."""
    segment = part.segment
    places = [(fields["bucket"], fields["key"]) for fields in map(segment.fields, rows)]
    # All documents at once: looking for one takes as long.
    known = segment.docs[find(segment.docs, table([(*identity(*place), 0, 0, 0, 0, 0, 0) for place in places]))]
    counts = []
    for row, first, count in zip(rows, known["first"].tolist(), known["count"].tolist(), strict=True):
        others = np.arange(first, first + count)
        others = others[others != row]
        if allowed is not None:
            others = others[(allowed[others >> 3] >> (others & 7) & 1).astype(bool)]
        if least is not None and len(others):
            others = others[segment.vectors(others) @ query >= least]
        counts.append(len(others))
    return counts
