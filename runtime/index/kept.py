"""What an index holds of documents that are about to be embedded: their chunks, with the vectors of these.

The tables of documents of the newest version say in which batches to look; only these small files of a segment are
fetched, and kept by hash. A batch is checked when it is read, so what it gives is what was committed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgpack
import numpy as np
from numpy.typing import NDArray

from runtime.context import Kept, Row, Store
from runtime.errors import CorruptBatch, CorruptSegment, ObjectMissing
from runtime.index import batches
from runtime.index.batches import Batch
from runtime.index.cache import SegmentCache
from runtime.index.docs import Docs, Vectors, find, identity, newer, table, tie
from runtime.index.included import of_segment
from runtime.index.manifest import Manifest
from runtime.index.packed import FIELDS
from runtime.index.segment import TABLE, load_docs

READERS = 4
"""Batches that are read at once."""

_FEW = 8
_OP = FIELDS.index("op")
Column = NDArray[np.uint16]
"""A few bits of what each record of a table says of its content: 2 bytes a document, kept in memory."""

Version = tuple[int, int, int]
"""A version of a document: `h1`, `h2` and `seq` of its record."""

log = logging.getLogger("tundish.index")


class Offers:
    """Of the indexes of one store. `columns` and generations of those that were asked for stay in memory."""

    def __init__(self, store: Store, cache: SegmentCache) -> None:
        self._store, self._cache = store, cache
        self._columns: dict[tuple[str, str], Column] = {}
        self._generations: dict[str, int] = {}

    def of(self, version: Manifest, documents: Sequence[tuple[str, str, str]], model: str) -> Iterator[Kept]:
        """What `version` holds of documents (bucket, key, etag), and of others with the same etag, batch by batch.

        Each document's newest version is there, whatever its etag. What is gone or damaged, or another model's, is
        left out. Raises StoreDown.
        """
        if version.model != model:
            return
        self._forget(version)
        try:
            wanted = list(self._wanted(version, documents).items())
        except (CorruptSegment, ObjectMissing) as error:  # a build mends it
            log.warning("index %s: nothing of it is used again: %s", version.index, error)
            return
        with ThreadPoolExecutor(READERS, thread_name_prefix="kept") as pool:
            for first in range(0, len(wanted), READERS):
                some = wanted[first : first + READERS]
                yield from filter(None, pool.map(lambda one: self._read(version, *one), some))

    def _forget(self, version: Manifest) -> None:
        """What an older version has: on a host where nobody builds or searches, nobody else removes it."""
        if self._generations.get(version.index) == version.generation:
            return
        self._generations[version.index] = version.generation
        for place in [one for one in tuple(self._columns) if one[0] == version.index and one[1] not in version.parts]:
            self._columns.pop(place, None)
        self._cache.trim(version.index, version.parts)

    def _wanted(self, version: Manifest, documents: Sequence[tuple[str, str, str]]) -> dict[str, set[Version]]:
        """In which batches these documents are."""
        names = [ref.segment for ref in version.segments]
        tables = [load_docs(self._cache.folder(version.index, name, (TABLE,))) for name in names]
        mine = table([(*identity(bucket, key), 0, 0, 0, 0, 0, 0) for bucket, key, _ in documents])
        ties = np.array([tie("put", etag) for _, _, etag in documents], np.uint32)
        best, part = _newest(tables, mine)
        # What has its own content already is no copy of anything; a document without an etag is none, either.
        strange = (part < 0) | (best["tie"] != ties)
        strange &= np.array([bool(etag) for _, _, etag in documents], bool)
        copies = np.unique(ties[strange])
        found: dict[str, set[Version]] = {}
        for number, (name, known) in enumerate(zip(names, tables, strict=True)):
            records = best[part == number]
            if len(copies):
                records = np.concatenate([records, _copies(known, self._column(version.index, name, known), copies)])
            if len(records):
                included = of_segment(self._cache, version.index, name)
                for record in records:
                    batch, _ = included[int(record["batch"])]
                    found.setdefault(batch, set()).add((int(record["h1"]), int(record["h2"]), int(record["seq"])))
        return found

    def _column(self, index: str, segment: str, known: Docs) -> Column:
        column = self._columns.get((index, segment))
        if column is None:
            column = self._columns[index, segment] = column_of(known)
        return column

    def _read(self, version: Manifest, batch: str, wanted: set[Version]) -> Kept | None:
        try:
            found = batches.read(self._store, version.space, batch)
        except (CorruptBatch, ObjectMissing) as error:
            log.info("index %s: a batch is not used again: %s", version.index, error)
            return None
        return of_batch(found, wanted) if found.model == version.model else None


def _newest(tables: Sequence[Docs], mine: Docs) -> tuple[Docs, NDArray[np.int64]]:
    """The newest record of each document, and the number of its table; -1 where there is none."""
    best, part = mine.copy(), np.full(len(mine), -1, np.int64)
    for number, known in enumerate(tables):
        at = find(known, mine)
        records = known[np.maximum(at, 0)] if len(known) else best
        better = (at >= 0) & ((part < 0) | newer(records, best))
        best[better], part[better] = records[better], number
    return best, part


def column_of(known: Docs) -> Column:
    """The low bits of every `tie`."""
    return known["tie"].astype(np.uint16)


def _copies(known: Docs, column: Column, ties: NDArray[np.uint32]) -> Docs:
    """The newest record of each of these contents. The table may be long: most of it is ruled out by its column."""
    if len(ties) <= _FEW:
        found = np.zeros(len(column), bool)
        for one in ties.astype(np.uint16):
            found |= column == one
    else:
        low = np.zeros(2**16, bool)
        low[ties & 0xFFFF] = True
        found = low[column]
    at = np.flatnonzero(found)
    at = at[np.isin(known["tie"][at], ties)]
    at = at[np.lexsort((known["seq"][at], known["tie"][at]))]
    chosen = known["tie"][at]
    last = np.append(chosen[1:] != chosen[:-1], True) if len(at) else np.zeros(0, bool)
    records: Docs = known[at[last]]
    return records


def of_batch(batch: Batch, wanted: set[Version]) -> Kept | None:
    """The wanted documents of a batch."""
    packed = batch.packed
    docs = [tuple(record) for record in packed.docs[["h1", "h2", "seq", "first", "count"]].tolist()]
    ends = np.cumsum(packed.lengths, dtype=np.int64)
    rows: list[Row] = []
    vectors: list[Vectors] = [batch.vectors[:0]]
    for h1, h2, seq, first, count in docs:
        if count and (h1, h2, seq) in wanted:
            start = int(ends[first] - packed.lengths[first])
            rows += _rows(packed.rows[start : int(ends[first + count - 1])])
            vectors.append(batch.vectors[first : first + count])
    for values in packed.gone:
        row = Row(*values)
        if (*identity(row.bucket, row.key), row.seq) in wanted:
            rows.append(row)
    # Copied, so that the rest of the batch does not stay in memory.
    return Kept(batch.id, batch.made, rows, np.concatenate(vectors), batch.backends) if rows else None


def _rows(data: bytes) -> Iterator[Row]:
    unpacker = msgpack.Unpacker(max_buffer_size=len(data) or 1)
    unpacker.feed(data)
    for values in unpacker:
        values.insert(_OP, "put")
        yield Row(*values)
