"""Batches into a collection: only what wins over what is there, and each step such that doing it again changes nothing.

What is written belongs to one epoch and is seen by nobody before a manifest names it (runtime/index/remote.py). In
order: the chunks of the new versions, the end of the older ones, which version a document has, which batches were
taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from qdrant_client import models

from runtime.context import Row
from runtime.index.batches import Batch
from runtime.index.docs import Vectors, tie
from runtime.index.included import Batch as Named
from runtime.index.qdrant import points
from runtime.index.qdrant.collection import PAGE, Collection
from runtime.index.qdrant.conditions import both, equal, living, seen, within
from runtime.index.qdrant.points import VECTOR
from runtime.index.qdrant.sending import Sender
from runtime.index.remote import Remote

MOST_DOCUMENTS = 256
"""Documents that are compared and ended in one request."""

MANY_BEATEN = 64
"""So many batches that hold nothing new are worth a version of their own."""


NEVER = models.Filter(must=[within("epoch", None, -1)])
"""What no point is like."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a document, as a batch has it: rows of its chunks, or the one row that deletes it."""

    rows: Sequence[Row]
    vectors: Vectors
    batch: str

    @property
    def row(self) -> Row:
        return self.rows[0]

    @property
    def rank(self) -> tuple[int, int]:
        return self.row.seq, tie(self.row.op, self.row.etag)

    @property
    def chunks(self) -> int:
        return len(self.rows) if self.row.op == "put" else 0


@dataclass(slots=True)
class Change:
    """What an attempt changes: rows and documents more (or fewer) than before."""

    rows: int = 0
    documents: int = 0
    versions: int = 0
    max_seq: int = 0
    backends: set[str] = field(default_factory=set)


class Known:
    """Which batches a version is made of: the points of batches in its collection. None: nothing is there yet."""

    def __init__(self, index: str, collection: Collection, version: Remote | None) -> None:
        self._index, self._collection, self._version = index, collection, version

    def has(self, batch_id: str) -> bool:
        return bool(self._etags([batch_id]))

    def holds(self, batches: Sequence[Named]) -> NDArray[np.bool_]:
        found = np.zeros(len(batches), bool)
        for first in range(0, len(batches), PAGE):
            some = batches[first : first + PAGE]
            etags = self._etags([name for name, _ in some])
            found[first : first + len(some)] = [etags.get(name) == etag for name, etag in some]
        return found

    def _etags(self, names: Sequence[str]) -> dict[str, str]:
        if self._version is None:
            return {}
        ids = {points.batch_id(self._index, name): name for name in names}
        payloads = self._collection.payloads(list(ids))
        return {ids[one]: str(found["etag"]) for one, found in payloads.items() if self._version.has(found["epoch"])}


class Filling:
    """Takes batches one by one, as `runtime.index.intake` gives them, and writes them in an epoch.

    `base`: what is built upon; None where the collection is new. `begin` is called before the first thing is written,
    and says in which epoch; `alive` before every step, and raises where somebody else has taken over.
    """

    def __init__(
        self,
        index: str,
        collection: Collection,
        base: Remote | None,
        begin: Callable[[Filling], int],
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        self._index, self._collection, self._base, self._begin, self._alive = index, collection, base, begin, alive
        self.change = Change()
        self.batches: list[Named] = []
        self.dimensions = 0
        self.model = ""
        self.epoch = 0
        self._waiting: list[Batch] = []
        self._unmarked: list[Named] = []

    def expect(self, sizes: Sequence[int]) -> bool:
        """Nothing is prepared by size, and every vector is needed."""
        return False

    def add(self, batch: Batch) -> None:
        """Write what is new in a batch. Raises what Connection.ask does."""
        self.batches.append((batch.id, batch.etag))
        self.change.backends.update(batch.backends)
        if batch.dimensions:
            self.dimensions, self.model = batch.dimensions, batch.model
        if not self.dimensions:
            self._waiting.append(batch)  # it only deletes, and there is no collection before there are vectors
            return
        for one in (*self._waiting, batch):
            self._take(one)
        self._waiting.clear()

    def view(self) -> Remote:
        """The collection as it is seen with what was written; counts are those of `base`, changed."""
        base = self._base or Remote(self._collection.name, self.epoch - 1)
        changed = base.after(self.epoch) if self.epoch else base
        rows = base.rows + self.change.rows
        return Remote(
            changed.collection,
            changed.epoch,
            changed.gaps,
            rows,
            base.documents + self.change.documents,
            rows * self.dimensions * 4,
        )

    def _take(self, batch: Batch) -> None:
        versions = _versions(batch)
        for first in range(0, len(versions), MOST_DOCUMENTS):
            self._write(versions[first : first + MOST_DOCUMENTS])
        self._unmarked.append((batch.id, batch.etag))
        if self.epoch or len(self._unmarked) >= MANY_BEATEN:
            self.mark()

    def mark(self) -> None:
        """Remember which batches were taken: a later build reads them no more."""
        if not self.epoch:
            self.epoch = self._begin(self)
        self._alive()
        taken = [
            models.PointStruct(
                id=points.batch_id(self._index, name), vector={}, payload=points.batch(name, etag, self.epoch)
            )
            for name, etag in self._unmarked
        ]
        self._collection.upsert(taken, models.Filter(must=[within("epoch", None, self.epoch)]))
        self._unmarked.clear()

    def _write(self, versions: Sequence[Version]) -> None:
        self.change.max_seq = max([self.change.max_seq, *(one.row.seq for one in versions)])
        best: dict[str, Version] = {}
        for one in versions:
            name = points.document_id(self._index, one.row.bucket, one.row.key)
            if name not in best or one.rank > best[name].rank:
                best[name] = one
        heads = self._heads(list(best))
        new = {name: one for name, one in best.items() if self._wins(one, heads.get(name))}
        if not new:
            return
        if not self.epoch:
            self.epoch = self._begin(self)
        self._alive()
        self._count(new, heads)
        before = models.Filter(must=[within("born", None, self.epoch)])
        with Sender(self._collection) as sender:
            sender.send((point for one in new.values() for point in self._chunks(one)), before)
            sender.settle()
        self._alive()
        known = {name: one for name, one in new.items() if name in heads}
        known |= self._first({name: one for name, one in new.items() if name not in heads})
        self._collection.change(
            [
                *(self._end(one, name) for name, one in known.items()),
                *(self._document(name, one) for name, one in known.items()),
            ]
        )

    def _first(self, new: dict[str, Version]) -> dict[str, Version]:
        """The points of documents that nobody knew, together, which takes a tenth of the time. Somebody else may have
        written one meanwhile: that one stays, and those are returned."""
        made = [models.PointStruct(id=name, vector={}, payload=self._head(one)) for name, one in new.items()]
        self._collection.upsert(made, NEVER)
        found = self._collection.payloads(list(new))
        return {name: one for name, one in new.items() if _rank(found[name]) != one.rank}

    def _heads(self, names: Sequence[str]) -> dict[str, dict[str, object]]:
        if self._base is None and not self.epoch:
            return {}  # the collection is not there yet
        return self._collection.payloads(names)

    def _wins(self, one: Version, head: dict[str, object] | None) -> bool:
        if head is None:
            return True
        rank = _rank(head)
        # One that is there by a change that was never published is written again.
        return one.rank > rank or (one.rank == rank and not self._counts(int(str(head["epoch"]))))

    def _counts(self, epoch: int) -> bool:
        return epoch == self.epoch or (self._base is not None and self._base.has(epoch))

    def _count(self, new: dict[str, Version], heads: dict[str, dict[str, object]]) -> None:
        """What becomes of the numbers of the version. Where a head is of a change that never counted, the chunks that
        are seen are counted themselves."""
        view = self.view()
        for name, one in new.items():
            head, before = heads.get(name), 0
            if head is not None and self._counts(int(str(head["epoch"]))):
                before = int(str(head["chunks"]))
            elif head is not None:
                before = self._collection.count(both(seen(view), models.Filter(must=[equal("document", name)])))
            self.change.rows += one.chunks - before
            self.change.documents += bool(one.chunks) - bool(before)
            self.change.versions += 1

    def _chunks(self, one: Version) -> list[models.PointStruct]:
        return [
            models.PointStruct(
                id=points.chunk_id(self._index, row),
                vector={VECTOR: vector},
                payload=points.chunk(self._index, row, self.epoch, one.batch, len(one.rows) if not number else 0),
            )
            for number, (row, vector) in enumerate(zip(one.rows[: one.chunks], one.vectors.tolist(), strict=True))
        ]

    def _end(self, one: Version, name: str) -> models.SetPayloadOperation:
        """Older versions of a document end in this epoch. What came with a newer one stays as it is."""
        same = models.Filter(must=[equal("seq", one.row.seq), equal("etag", one.row.etag)])
        old = models.Filter(
            must=[
                equal("document", name),
                equal("kind", "chunk"),
                within("seq", None, one.row.seq),
                within("born", None, self.epoch),
                living(self.view()),
            ],
            must_not=[same] if one.chunks else None,  # of what is deleted nothing stays
        )
        return models.SetPayloadOperation(set_payload=models.SetPayload(payload={"died": self.epoch}, filter=old))

    def _head(self, one: Version) -> dict[str, object]:
        return points.document(one.row, self.epoch, one.batch, one.chunks)

    def _document(self, name: str, one: Version) -> models.UpsertOperation:
        """A document's point, unless it knows of a newer version. That of the same version is older by its attempt."""
        seq, rank = one.rank
        same = equal("seq", seq)
        older = models.Filter(
            should=[
                within("seq", None, seq - 1),
                models.Filter(must=[same, within("tie", None, rank - 1)]),
                models.Filter(must=[same, equal("tie", rank), within("epoch", None, self.epoch)]),
            ]
        )
        point = models.PointStruct(id=name, vector={}, payload=self._head(one))
        return models.UpsertOperation(upsert=models.PointsList(points=[point], update_filter=older))


def _versions(batch: Batch) -> list[Version]:
    """The versions in a batch; the rows that put something come first, in the order of their vectors."""
    found: list[Version] = []
    first = 0
    for _, members in groupby(batch.rows, key=lambda row: (row.bucket, row.key, row.etag, row.seq, row.op)):
        rows = list(members)
        count = len(rows) if rows[0].op == "put" else 0
        found.append(Version(rows, batch.vectors[first : first + count], batch.id))
        first += count
    return found


def _rank(head: dict[str, object]) -> tuple[int, int]:
    return int(str(head["seq"])), int(str(head["tie"]))
