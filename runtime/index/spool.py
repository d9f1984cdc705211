"""The rows and vectors of new batches, on disk: a build's memory does not grow with the number of batches."""

from __future__ import annotations

from array import array
from itertools import groupby
from pathlib import Path
from types import TracebackType

import msgpack
import numpy as np

from runtime.context import Row
from runtime.index.batches import Batch
from runtime.index.docs import DELETE, PUT, Docs, Positions, Vectors, identity, table, tie
from runtime.index.segment import ROW_FIELDS, mapped


class Spool:
    """Takes batches one by one, then serves their rows as a segment does."""

    def __init__(self, folder: Path) -> None:
        self._vectors_path, self._rows_path = folder / "spool.vectors", folder / "spool.rows"
        self._vectors, self._rows = self._vectors_path.open("wb"), self._rows_path.open("wb")
        self._offsets = array("Q", [0])
        self._docs: list[tuple[int, ...]] = []
        self._mapped: tuple[Vectors, memoryview] | None = None
        self.batches: list[tuple[str, str]] = []
        self.dimensions = 0
        self.model = ""

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._vectors.close()
        self._rows.close()

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def add(self, batch: Batch) -> None:
        """Append a batch whose dimensions and model are those of the others."""
        number = len(self.batches)
        self.batches.append((batch.id, batch.etag))
        if batch.dimensions:
            self.dimensions, self.model = batch.dimensions, batch.model
        places = iter(range(len(batch.vectors)))
        placed = [(row, next(places) if row.op == "put" else -1) for row in batch.rows]
        placed.sort(key=lambda entry: (_version(entry[0]), entry[0].chunk))
        order = []
        for (bucket, key, seq, etag, op), group in groupby(placed, key=lambda entry: _version(entry[0])):
            members = list(group)
            puts = [(row, place) for row, place in members if op == "put"]
            kind = PUT if op == "put" else DELETE
            self._docs.append((*identity(bucket, key), seq, len(self), len(puts), number, tie(op, etag), kind))
            for row, place in puts:
                order.append(place)
                written = self._rows.write(msgpack.packb([getattr(row, name) for name in ROW_FIELDS]))
                self._offsets.append(self._offsets[-1] + written)
        self._vectors.write(batch.vectors[order].tobytes())

    def docs(self) -> Docs:
        """Every version of every document that was added, in no order."""
        return table(self._docs)

    def row(self, position: int) -> bytes:
        _, rows = self._maps()
        return bytes(rows[self._offsets[position] : self._offsets[position + 1]])

    def vectors(self, positions: Positions) -> Vectors:
        vectors, _ = self._maps()
        return vectors[positions]

    def _maps(self) -> tuple[Vectors, memoryview]:
        if self._mapped is None:
            self._vectors.flush()
            self._rows.flush()
            flat = mapped(self._vectors_path).view(np.float32)
            self._mapped = flat.reshape(len(self), self.dimensions or 1), mapped(self._rows_path).data
        return self._mapped


def _version(row: Row) -> tuple[str, str, int, str, str]:
    return row.bucket, row.key, row.seq, row.etag, row.op
