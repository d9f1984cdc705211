"""The attributes of a segment's rows: a sorted table of terms, each with the rows that have it, in one mapped file.

| part of attributes.bin | content |
|---|---|
| head | `TNDATTR1`, then the numbers of rows, terms and postings, and the bytes of all terms (uint64 each) |
| places | terms + 1 pairs of uint64: where a term begins among the bytes, and its rows among the postings |
| postings | row numbers (uint32) |
| terms | their bytes, one after the other |

A segment without the file (a small one, or one of an earlier release) has its table made from its rows when the first
filter comes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from threading import Lock

import msgpack
import numpy as np
from numpy.typing import NDArray

from runtime.errors import CorruptSegment
from runtime.index import npy, terms
from runtime.index.attribute_terms import MAGIC, Collector
from runtime.index.docs import Bits
from runtime.index.filters import Filters, Span

ATTRIBUTES = "attributes.bin"

SMALL = 2048
"""Rows of a segment below which decoding them takes less time than it takes to store and fetch one file more."""

KEPT = 32
"""Filters of which a segment remembers the rows, a bit each."""

_HEAD = 40
_BLOCK = 2**20


def write(folder: Path, rows: Path, count: int, known: Collector | None = None) -> list[str]:
    """Write the table of `count` packed rows, those of the file `rows`; the names of what was written.

    `known`: what was collected of just these rows before.
    """
    if count < SMALL:
        return []
    if known is None:
        # Read and not mapped: what is mapped and was looked at counts as memory of this process.
        with rows.open("rb") as packed:
            known = collected(iter(partial(packed.read, _BLOCK), b""))
    write_table(folder / ATTRIBUTES, known)
    return [ATTRIBUTES]


def write_table(path: Path, known: Collector) -> None:
    """Write the table of what was collected, piece by piece: it may be large."""
    with path.open("wb") as file:
        file.writelines(known.pieces())


def collected(blocks: Iterable[bytes | memoryview]) -> Collector:
    """The terms of rows that are packed one after the other, in blocks of any size. Raises ValueError … for others."""
    unpacker = msgpack.Unpacker(use_list=False, max_buffer_size=2**31 - 1)
    collector = Collector()
    for block in blocks:
        unpacker.feed(block)
        collector.extend((row[0], row[1], row[9], row[4]) for row in unpacker)
    return collector


class Attributes:
    """Which rows of one segment pass a filter. Safe from many threads."""

    def __init__(self, file: Path | None, rows: memoryview, count: int) -> None:
        """`file` is the table; None: it is made from `rows` when it is asked for. Raises CorruptSegment."""
        self._rows, self._count = rows, count
        self._table = Table(npy.octets(file), count) if file else None
        self._kept: OrderedDict[Filters, Bits] = OrderedDict()
        self._making, self._keeping = Lock(), Lock()

    def passing(self, filters: Filters) -> Bits:
        """A bit for each row, packed, the lowest of a byte first; not to be changed. Raises CorruptSegment."""
        with self._keeping:
            if (known := self._kept.get(filters)) is not None:
                self._kept.move_to_end(filters)
                return known
        found = self._opened(filters).passing(filters)
        with self._keeping:
            self._kept[filters] = found
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return found

    def _opened(self, filters: Filters) -> Table:
        with self._making:
            if self._table is None or (filters.tenants and not self._table.has_tenants):
                try:
                    data = b"".join(collected(_blocks(self._rows)).pieces())
                except (ValueError, TypeError, IndexError, AttributeError) as error:
                    raise CorruptSegment(
                        f"Rows of a segment cannot be read: {error or type(error).__name__}."
                    ) from error
                self._table = Table(np.frombuffer(data, np.uint8), self._count)
            return self._table


class Table:
    """An opened table. Raises CorruptSegment where its parts do not agree."""

    def __init__(self, data: NDArray[np.uint8], count: int) -> None:
        head = data[8:_HEAD].view(np.uint64).tolist() if bytes(data[:8]) == MAGIC and len(data) >= _HEAD else [-1] * 4
        rows, terms, postings, size = head
        places = _HEAD + 16 * (terms + 1)
        self._begin = places + 4 * postings
        if rows != count or len(data) != self._begin + size:
            raise CorruptSegment(f"{ATTRIBUTES} does not belong to a segment of {count} rows, or was cut short.")
        self._count, self._terms = count, terms
        self._places: NDArray[np.uint64] = data[_HEAD:places].view(np.uint64).reshape(-1, 2)
        self._postings: NDArray[np.uint32] = data[places : self._begin].view(np.uint32)
        self._data = data.data

    def __len__(self) -> int:
        return self._terms

    def __getitem__(self, number: int) -> bytes:
        """A term."""
        start, end = self._places[number : number + 2, 0].tolist()
        return bytes(self._data[self._begin + start : self._begin + end])

    @property
    def has_tenants(self) -> bool:
        """Whether it knows the tenant of every row: tables of earlier releases do not, nor what was made of these."""
        first, last = bisect_left(self, terms.TENANT), bisect_left(self, terms.TENANT + b"\xff")
        return int(self._places[last, 1] - self._places[first, 1]) == self._count

    def passing(self, filters: Filters) -> Bits:
        passing = np.ones(self._count, bool)
        for spans in filters.spans():
            having = np.zeros(self._count, bool)
            for span in spans:
                self._mark(having, span)
            passing &= having
        return np.packbits(passing, bitorder="little")

    def _mark(self, having: NDArray[np.bool_], span: Span) -> None:
        first = bisect_left(self, span[0])
        last = bisect_left(self, span[1], first)
        start, end = int(self._places[first, 1]), int(self._places[last, 1])
        try:
            having[self._postings[start:end]] = True
        except IndexError as error:
            raise CorruptSegment(f"{ATTRIBUTES} names rows that the segment does not have.") from error


def _blocks(rows: memoryview) -> Iterator[memoryview]:
    return (rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK))
