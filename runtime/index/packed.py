"""Rows as a segment stores them, one after the other, with the table of their documents.

A batch is written so: who embeds packs once, and a build appends bytes without looking at a row.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, fields
from hashlib import sha256
from itertools import groupby
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from runtime.context import Row
from runtime.index.attribute_terms import Collector
from runtime.index.docs import DELETE, DOCS, PUT, Docs, Vectors, place, tie

FIELDS = tuple(field.name for field in fields(Row))
_SEQ, _OP, _CHUNK = (FIELDS.index(name) for name in ("seq", "op", "chunk"))
_BUCKET, _KEY, _META, _TENANT = (FIELDS.index(name) for name in ("bucket", "key", "meta", "tenant"))
_TYPES = (str, str, str, int, str, str, int, int, int, str, dict)
_OPS = {"put", "delete"}
_RECORD = struct.Struct("<QIIIIII")  # a record of DOCS after its two hashes
Values = list[Any]
"""A row in the order of FIELDS."""


@dataclass(frozen=True, slots=True)
class Packed:
    """`rows` are those that put something, each a msgpack list of every field but `op`; `lengths` (uint32) their bytes.

    `docs` is one record for every version of a document, not sorted, with `first` counted from the first row here and
    `batch` 0. `gone` are the rows that delete, with all fields. `attributes`: what filters ask of the rows
    (attribute_terms.py).
    """

    rows: bytes
    lengths: NDArray[np.uint32]
    docs: Docs
    gone: list[Values]
    attributes: bytes

    def values(self) -> Iterator[Values]:
        """All rows; what they put comes first, in the order of the vectors."""
        unpacker = msgpack.Unpacker(max_buffer_size=len(self.rows) or 1)
        unpacker.feed(self.rows)
        for row in unpacker:
            row.insert(_OP, "put")
            yield row
        yield from self.gone

    def digest(self) -> str:
        """The sha256 of everything but `gone`."""
        hashed = sha256(self.rows)
        hashed.update(self.lengths.data)
        hashed.update(self.docs.tobytes())
        hashed.update(self.attributes)
        return hashed.hexdigest()

    def flaw(self) -> str:
        """What does not agree, or nothing."""
        counts = self.docs["count"].astype(np.int64)
        if int(self.lengths.sum(dtype=np.int64)) != len(self.rows):
            return "has rows of other lengths than it says"
        if int(counts.sum()) != len(self.lengths) or (np.cumsum(counts) - counts != self.docs["first"]).any():
            return "has a table of documents that is not that of its rows"
        return flaw_of(self.gone)


def pack(rows: list[Values], vectors: Vectors) -> tuple[Packed, Vectors]:
    """Rows without a flaw, and the vectors of those that put something, in the same order, packed.

    The chunks of a version come to stand together, the first one first; the vectors follow. Raises TypeError,
    ValueError and OverflowError for what cannot be stored.
    """
    rows, vectors = _in_order(rows, vectors)
    docs, first = bytearray(), 0
    for (bucket, key, etag, seq, op), members in _runs(rows):
        count, kind = (members, PUT) if op == "put" else (0, DELETE)
        docs += place(bucket, key) + _RECORD.pack(seq, first, count, 0, tie(op, etag), kind, 0)
        first += count
    packer = msgpack.Packer().pack
    packed = [packer(row[:_OP] + row[_OP + 1 :]) for row in rows if row[_OP] == "put"]
    lengths = np.fromiter(map(len, packed), np.uint32, len(packed))
    gone = [row for row in rows if row[_OP] != "put"]
    attributes = Collector()
    attributes.extend((row[_BUCKET], row[_KEY], row[_META], row[_TENANT]) for row in rows if row[_OP] == "put")
    return Packed(b"".join(packed), lengths, np.frombuffer(docs, DOCS), gone, attributes.packed()), vectors


def flaw_of(rows: Any) -> str:
    """What is wrong with rows that are to be packed, or nothing."""
    if not isinstance(rows, list):
        return "has no list of rows"
    if _sound(rows):
        return ""
    for number, row in enumerate(rows):
        good = isinstance(row, list) and len(row) == len(FIELDS)
        if not good or not all(isinstance(value, kind) for value, kind in zip(row, _TYPES, strict=True)):
            return f"has fields of the wrong number or type in row {number}"
        if row[_OP] not in _OPS or not 0 <= row[_SEQ] < 2**63:
            return f"has op {row[_OP]!r} and seq {row[_SEQ]} in row {number}"
    return ""


def _sound(rows: list[Any]) -> bool:
    """The same, column by column: there may be millions in a build."""
    if not rows:
        return True
    if set(map(type, rows)) != {list} or set(map(len, rows)) != {len(FIELDS)}:
        return False
    columns = list(zip(*rows, strict=True))
    if any(set(map(type, column)) != {kind} for column, kind in zip(columns, _TYPES, strict=True)):
        return False
    return set(columns[_OP]) <= _OPS and min(columns[_SEQ]) >= 0 and max(columns[_SEQ]) < 2**63


def _runs(rows: list[Values]) -> list[tuple[tuple[Any, ...], int]]:
    """Each version of a document (bucket, key, etag, seq, op) with the number of its rows that stand together."""
    versions = [tuple(row[: _OP + 1]) for row in rows]
    return [(version, len(list(members))) for version, members in groupby(versions)]


def _in_order(rows: list[Values], vectors: Vectors) -> tuple[list[Values], Vectors]:
    runs = _runs(rows)
    if len(dict(runs)) == len(runs):
        at, ordered = 0, True
        for _, count in runs:
            chunks = [row[_CHUNK] for row in rows[at : at + count]] if count > 1 else []
            ordered = ordered and chunks == sorted(chunks)
            at += count
        if ordered:
            return rows, vectors
    numbers = iter(range(len(vectors)))
    placed = [(row, next(numbers) if row[_OP] == "put" else -1) for row in rows]
    placed.sort(key=lambda entry: (entry[0][: _OP + 1], entry[0][_CHUNK]))
    return [row for row, _ in placed], vectors[[number for _, number in placed if number >= 0]]
