"""The table of documents of a segment: which rows are whose, and who wins when a document was seen twice.

One fixed-size record a document, sorted by a 128-bit hash of (bucket, key), so that a document is found in a
mapped file by bisection and two tables are merged without reading a key.
"""

from __future__ import annotations

import zlib
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

DOCS = np.dtype(
    [
        ("h1", "<u8"),
        ("h2", "<u8"),
        ("seq", "<u8"),
        ("first", "<u4"),  # its first row in the segment
        ("count", "<u4"),  # its rows; 0 for a delete
        ("batch", "<u4"),  # position in the segment's list of batches
        ("tie", "<u4"),  # decides between two versions with the same seq, in whatever order they came
        ("op", "<u4"),
        ("reserved", "<u4"),
    ]
)
PUT, DELETE = 0, 1
Docs = NDArray[np.void]
Vectors = NDArray[np.float32]
Positions = NDArray[np.int64]
Bits = NDArray[np.uint8]
"""One bit a row, packed, the lowest bit of a byte first; set for the rows that are meant."""


def place(bucket: str, key: str) -> bytes:
    """The 128-bit hash of a document's place: `h1` and `h2` as they are stored. A bucket's name holds no NUL."""
    return blake2b(f"{bucket}\0{key}".encode("utf-8", "surrogatepass"), digest_size=16).digest()


def identity(bucket: str, key: str) -> tuple[int, int]:
    """The same hash as two numbers."""
    digest = place(bucket, key)
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")


def tie(op: str, etag: str) -> int:
    return zlib.crc32(f"{op}\0{etag}".encode("utf-8", "surrogatepass"))


def table(records: list[tuple[Any, ...]]) -> Docs:
    """Records (h1, h2, seq, first, count, batch, tie, op) as an array, not sorted."""
    return np.array([(*record, 0) for record in records], DOCS)


def winners(docs: Docs) -> Positions:
    """Positions of the winning version of every document, in the order of the hashes."""
    if not len(docs):
        return np.empty(0, np.int64)
    order = _by_first(docs)
    if order is not None:
        return order
    order = np.lexsort((docs["tie"], docs["seq"], docs["h2"], docs["h1"])).astype(np.int64)
    h1, h2 = docs["h1"][order], docs["h2"][order]
    chosen: Positions = order[np.append((h1[1:] != h1[:-1]) | (h2[1:] != h2[:-1]), True)]
    return chosen


def in_order(docs: Docs) -> Docs:
    """Sorted by the hashes, as a table of different documents is stored."""
    h1 = docs["h1"]
    if (h1[1:] > h1[:-1]).all():
        return docs
    order = _by_first(docs)
    sorted_docs: Docs = docs[np.lexsort((docs["h2"], docs["h1"])) if order is None else order]
    return sorted_docs


def _by_first(docs: Docs) -> Positions | None:
    """The order of the first hashes, which NumPy sorts in a tenth of the time of all columns; None where two are
    alike: versions of one document, mostly."""
    h1 = np.ascontiguousarray(docs["h1"])
    order = np.argsort(h1).astype(np.int64, copy=False)
    h1 = h1[order]
    return None if (h1[1:] == h1[:-1]).any() else order


def find(table: Docs, wanted: Docs) -> Positions:
    """Where in the sorted `table` each document of `wanted` is, or -1.

    By bisection, all of them in step: only what is looked at is read, not the whole of a large table.
    """
    if not len(table):
        return np.full(len(wanted), -1, np.int64)
    h1, h2, last = table["h1"], table["h2"], len(table) - 1
    mine1, mine2 = np.ascontiguousarray(wanted["h1"]), np.ascontiguousarray(wanted["h2"])
    low, high = np.zeros(len(wanted), np.int64), np.full(len(wanted), len(table), np.int64)
    for _ in range(len(table).bit_length()):
        middle = (low + high) >> 1
        at = np.minimum(middle, last)
        first = h1[at]
        below = (first < mine1) | ((first == mine1) & (h2[at] < mine2))
        searching = low < high
        low, high = np.where(searching & below, middle + 1, low), np.where(searching & ~below, middle, high)
    at = np.minimum(low, last)
    found: Positions = np.where((low <= last) & (h1[at] == mine1) & (h2[at] == mine2), low, -1)
    return found


def newer(left: Docs, right: Docs) -> NDArray[np.bool_]:
    """Elementwise: is the version on the left the newer one?"""
    result: NDArray[np.bool_] = (left["seq"] > right["seq"]) | (
        (left["seq"] == right["seq"]) & (left["tie"] > right["tie"])
    )
    return result


def rows_of(docs: Docs) -> Positions:
    """The row numbers of all documents, one after the other."""
    counts = docs["count"].astype(np.int64)
    starts = np.cumsum(counts) - counts
    base = np.repeat(docs["first"].astype(np.int64) - starts, counts)
    positions: Positions = base + np.arange(len(base), dtype=np.int64)
    return positions
