"""The compact form of a segment: one bit a dimension for the scan, exact vectors for the few that count.

RaBitQ (Gao and Long, SIGMOD 2024, arXiv:2405.12497) keeps the signs of a vector's numbers around the centre, and two
factors with which a scan estimates every score. A scan reads 1/27 of what an exact one reads; it takes some more rows
than were asked for, and these are scored exactly. How many more is decided by each answer itself: see `Compact`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from runtime.errors import CorruptSegment
from runtime.index import rabitq
from runtime.index.docs import Positions, Vectors

COMPACT_FROM = 10_000
"""Rows from which on a segment has a compact form: below, an exact scan takes under a millisecond (384 dimensions)."""

QUERY_BITS = 4
"""Of each number of a query in the scan. 8 bits take 1.3 times as long for the same recall."""

CANDIDATES, A_RESULT = 200, 20
"""Rows that are scored exactly at first: so many, and at least so many for each result."""

DEVIATIONS = 2.5
"""How many standard deviations of the estimates the first row left out must be below the last result."""

EXACT_SHARE = 20
"""Scoring more than this part (1/20) of all rows takes as long as an exact scan."""

SAMPLE = 16_384  # rows that tell the centre, a mean: more would not move it


def is_compact(rows: int) -> bool:
    return rows >= COMPACT_FROM


def size(dimensions: int, rows: int) -> int:
    """Bytes of the file of a compact form."""
    # Any: what faiss says of its types leaves out what its Python layer adds.
    empty: Any = faiss.IndexRaBitQ(dimensions, faiss.METRIC_INNER_PRODUCT, 1)
    empty.train(np.zeros((1, dimensions), np.float32))
    return len(faiss.serialize_index(empty)) + rows * rabitq.size(dimensions)


class CompactWriter:
    """Encodes blocks of vectors as they come; memory: 56 bytes a row of 384 dimensions."""

    def __init__(self, sample: Vectors, *, by_faiss: bool = False) -> None:
        """`sample`: rows, shape (n, dimensions), from everywhere in the segment. `by_faiss`: it encodes them itself."""
        # Any: what faiss says of its types leaves out what its Python layer adds.
        self._index: Any = faiss.IndexRaBitQ(sample.shape[1], faiss.METRIC_INNER_PRODUCT, 1)
        self._index.qb = QUERY_BITS
        self._index.train(sample)
        self._centre: Vectors | None = None if by_faiss else faiss.vector_to_array(self._index.center)

    def add(self, vectors: Vectors) -> None:
        if self._centre is None:
            self._index.add(vectors)
        else:
            self._index.add_sa_codes(rabitq.encoded(vectors, self._centre))

    def write(self, path: Path) -> None:
        faiss.write_index(self._index, str(path))


class Compact:
    """A compact form, mapped. Searching is safe from many threads.

    An estimate errs by chance. How much, the candidates tell, whose exact scores are known: where a row that was left
    out could still be among the results, every row that could be is scored exactly, too. So recall does not hang on a
    number that fits one model, one size or one filter.
    """

    def __init__(self, path: Path, rows: int, dimensions: int) -> None:
        """Raises CorruptSegment for a file that is not the compact form of so many vectors."""
        try:
            # Any: what faiss says of its types leaves out what its Python layer adds.
            self._index: Any = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError as error:  # what every C++ exception of FAISS becomes
            raise CorruptSegment(f"FAISS cannot read {path.name}: {error}") from error
        if (self._index.ntotal, self._index.d) != (rows, dimensions):
            raise CorruptSegment(f"{path.name} is for {self._index.ntotal} vectors of {self._index.d} dimensions.")

    def candidates(
        self, queries: Vectors, k: int, exact: Vectors, rows: int, selector: Any
    ) -> Iterator[tuple[int, Vectors, Positions]]:
        """(number of the query, scores, rows) of the best `k` of the `rows` rows that `selector` lets through, in any
        order of the queries. A query that would need too many of them is left out: it takes an exact scan.

        `exact`: all vectors, shape (n, dimensions).
        """
        wanted, most = max(CANDIDATES, A_RESULT * k), rows // EXACT_SHARE
        if wanted > most:
            return
        make: Any = faiss.RaBitQSearchParameters
        parameters = make(sel=selector, qb=QUERY_BITS) if selector is not None else None
        estimates, found = self._index.search(queries, wanted, params=parameters)
        for number, (query, estimated, places) in enumerate(zip(queries, estimates, found, strict=True)):
            scores = exact[places] @ query
            least = _least(estimated, scores, k)
            if float(estimated.min()) >= least:
                more = self._index.range_search(query.reshape(1, -1), least, params=parameters)[2]
                if k <= len(more) <= most:
                    yield number, *_best(more, exact[more] @ query, k)
            else:
                yield number, *_best(places, scores, k)


def _best(rows: Positions, scores: Vectors, k: int) -> tuple[Vectors, Positions]:
    order = np.argsort(-scores, kind="stable")[:k]
    return scores[order], rows[order]


def _least(estimates: Vectors, scores: Vectors, k: int) -> float:
    """The estimate below which a row is, by all chance, no better than the `k`-th best of these."""
    errors: NDArray[np.float32] = scores - estimates
    last = float(np.partition(scores, -k)[-k])
    return last - max(0.0, float(errors.mean())) - DEVIATIONS * float(errors.std())
