"""The rows and vectors of new batches, on disk as a segment has them: memory does not grow with what is built."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import numpy as np

from runtime.index import early, pieces, whole
from runtime.index.attribute_terms import Collector
from runtime.index.batches import Batch
from runtime.index.body import Body, Stored
from runtime.index.docs import DOCS, Docs
from runtime.index.early import Early
from runtime.index.pieces import Piece
from runtime.index.whole import NotWhole

Begin = Callable[[Path, int, int], Early]


class Spool:
    """Takes batches one by one; `stored` gives their rows, `docs` says whose they are."""

    def __init__(self, folder: Path, begin: Begin | None = None, *, glances: bool = False) -> None:
        """`begin` sends many vectors ahead: it is told their file, their dimensions and how many there will be.
        `glances`: whether many batches may become a segment without a look at their vectors (whole.py)."""
        self._body, self._begin, self._expected = Body(folder / "spool"), begin, 0
        self._glances = glances
        self._whole = False
        self._early: Early | None = None
        self._stored: Stored | None = None
        self._attributes = Collector()
        self._docs = [np.empty(0, DOCS)]
        self._pieces: list[Piece] = []
        self.batches: list[tuple[str, str]] = []
        self.dimensions = 0
        self.model = ""
        self.backends: set[str] = set()

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if sent := self.taken():
            sent.give_up()
        self._body.__exit__(kind, error, trace)

    def __len__(self) -> int:
        return len(self._body)

    def add(self, batch: Batch) -> None:
        """Append a batch whose dimensions and model are those of the others. Raises NotWhole for one that cannot be
        referred to, where no vectors are kept."""
        if self._whole and batch.dimensions and not (batch.digest and batch.rows_stored):
            raise NotWhole
        if batch.dimensions:
            self.dimensions, self.model = batch.dimensions, batch.model
        self.backends.update(batch.backends)
        docs = np.array(batch.packed.docs)
        docs["first"] += len(self)
        docs["batch"] = len(self.batches)
        self._docs.append(docs)
        vectors = None if self._whole and batch.dimensions else batch.vectors
        self._body.append(vectors, batch.packed.rows, batch.packed.lengths)
        if len(batch.vectors):
            self._pieces.append(pieces.whole(batch.id, batch.digest, len(batch.vectors)))
        self._hand_on()
        self._attributes.merge(batch.packed.attributes)
        self.batches.append((batch.id, batch.etag))

    def expect(self, sizes: Sequence[int]) -> bool:
        """Batches with so many bytes of vectors are to come, if nothing is wrong with them. Whether no vectors are
        kept: then none need be read."""
        if not self.batches:
            self._whole = self._glances and whole.worth(sizes)
        if 2 * sum(size for size in sizes if size >= pieces.LEAST_BYTES) >= sum(sizes):
            self._begin = None  # most of them will be referred to where they are
        self._expected = sum(sizes) + len(self) * self.dimensions * 4
        return self._whole

    def _hand_on(self) -> None:
        if self._begin and self.dimensions and self._expected >= early.LEAST_BYTES:
            rows = self._expected // (4 * self.dimensions)
            self._early, self._begin = self._begin(self._body.vectors, self.dimensions, rows), None
        if self._early:
            self._early.written(self._body.flushed())

    @property
    def sends(self) -> bool:
        """Whether vectors are sent ahead."""
        return self._early is not None

    def taken(self) -> Early | None:
        """What is sent ahead, if anything is; whoever takes it ends it."""
        taken, self._early = self._early, None
        return taken

    def docs(self) -> Docs:
        """Every version of every document that was added, in no order."""
        self._docs = [np.concatenate(self._docs)]
        return self._docs[0]

    def stored(self) -> Stored:
        """What was added, complete; nothing is added any more."""
        if self._stored is None:
            self._stored = self._body.close(self.dimensions)
            self._stored = replace(self._stored, attributes=self._attributes, pieces=self._pieces)
        return self._stored
