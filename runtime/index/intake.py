"""New batches of a build: which there are, which can be used, and what to say of the others."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from runtime.context import Store
from runtime.errors import CorruptBatch, ObjectMissing
from runtime.index import batches, glance, layout, whole
from runtime.index.batches import Batch, Listed
from runtime.index.included import Batch as Named
from runtime.index.manifest import Skipped
from runtime.index.vector_file import NPY_BYTES

THREADS, AHEAD = 8, 16
"""Batches that are read at once, and held at once."""

RENEW_EVERY = 64
Outcome = tuple[str, Batch | ObjectMissing | CorruptBatch]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a build is to look at: the batches of these names, or else all that are listed (None: not yet)."""

    named: Sequence[str] = ()
    listed: Mapping[str, Listed] | None = None


class Below(Protocol):
    """What is built upon: which batches it is made of."""

    def has(self, batch_id: str) -> bool: ...

    def holds(self, batches: list[Named]) -> NDArray[np.bool_]:
        """Elementwise: is this batch, with this etag, part of it?"""
        ...


class Sink(Protocol):
    """Who takes batches. `dimensions` 0: those of the first vectors are to be the index's."""

    dimensions: int
    model: str

    @property
    def batches(self) -> list[Named]:
        """Those that were taken."""
        ...

    def expect(self, sizes: Sequence[int]) -> bool:
        """Batches with so many bytes of vectors are to come. Whether nobody need look at these (glance.py)."""
        ...

    def add(self, batch: Batch) -> Any: ...


@dataclass(slots=True)
class Intake:
    """What came of it."""

    skipped: list[Skipped] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def gather(
    store: Store,
    index: str,
    spool: Sink,
    wanted: Wanted,
    below: Below,
    skipped: Sequence[Skipped],
    renew: Callable[[], None] = lambda: None,
) -> Intake:
    """Put every batch that is neither in `below` nor in the spool into the spool, whose dimensions and model are the
    index's.

    An index without vectors takes those of the newest batch. What is missing is a warning and looked for again
    in the next build; what is damaged is skipped until it changes.
    """
    listed = batches.listing(store, index) if wanted.listed is None else wanted.listed
    committed = [(batch_id, found.rows) for batch_id, found in listed.items() if found.rows]
    known, done = below.holds(committed), set(spool.batches)
    before = {skip.batch: skip for skip in skipped}
    intake = Intake()
    fresh = []
    for batch, read in zip(committed, known.tolist(), strict=True):
        old = before.get(batch[0])
        if read or batch in done:
            continue
        if old and old.etags == _etags(listed[batch[0]]):
            _skip(intake, old)
        else:
            fresh.append(batch[0])
    glances = spool.expect([_size(listed[batch_id]) for batch_id in fresh if listed[batch_id].vectors])
    fresh.sort(key=lambda batch_id: (-listed[batch_id].modified, batch_id))
    for batch_id, outcome in _read(store, index, fresh, renew, listed if glances else {}):
        path = layout.batch(index, batch_id)
        if isinstance(outcome, ObjectMissing):
            intake.warnings.append(f"Batch {path} is incomplete: {outcome} It is left out until it is there.")
        elif isinstance(outcome, CorruptBatch):
            _skip(intake, Skipped(batch_id, _etags(listed[batch_id]), str(outcome)))
        elif reason := foreign(path, index, outcome, spool):
            _skip(intake, Skipped(batch_id, _etags(listed[batch_id]), reason))
        else:
            spool.add(outcome)
    return intake


def take(
    store: Store,
    index: str,
    spool: Sink,
    wanted: Wanted,
    below: Below,
    skipped: Sequence[Skipped],
    renew: Callable[[], None] = lambda: None,
) -> Intake | None:
    """Put the named batches into the spool, without a listing, whose time grows with all that is stored.

    None where one of them cannot be used, or could not before: then the listing has to tell more.
    """
    fresh = [batch_id for batch_id in dict.fromkeys(wanted.named) if not below.has(batch_id)]
    if not {skip.batch for skip in skipped}.isdisjoint(fresh):
        return None
    told = glance.asked(store, index, fresh) if len(fresh) >= whole.LEAST_BATCHES else {}
    if told and not spool.expect([_size(one) for one in told.values()]):
        told = {}
    for batch_id, outcome in _read(store, index, fresh, renew, told):
        if not isinstance(outcome, Batch) or foreign(layout.batch(index, batch_id), index, outcome, spool):
            return None
        spool.add(outcome)
    return Intake(skipped=list(skipped))


def _skip(intake: Intake, skip: Skipped) -> None:
    intake.skipped.append(skip)
    intake.warnings.append(f"{skip.reason} The batch is skipped until it changes.")


def foreign(path: str, index: str, batch: Batch, spool: Sink) -> str:
    """Why a batch cannot be in one index with the others, or nothing."""
    if not batch.dimensions or not spool.dimensions:
        return ""
    if (batch.dimensions, batch.model) == (spool.dimensions, spool.model):
        return ""
    return (
        f"{path} holds vectors of {batch.dimensions} dimensions by {batch.model}; index {index!r} has "
        f"{spool.dimensions} by {spool.model}, and the two cannot be compared."
    )


def _size(listed: Listed) -> int:
    return max(0, listed.size - NPY_BYTES)


def _etags(listed: Listed) -> str:
    return f"{listed.rows} {listed.vectors}"


def _read(
    store: Store, index: str, ids: list[str], renew: Callable[[], None], glances: Mapping[str, Listed]
) -> Iterator[Outcome]:
    """Read batches ahead, in order, a bounded number at a time; of those in `glances` no vectors, if that will do."""

    def one(batch_id: str) -> Outcome:
        try:
            seen = glance.glance(store, index, batch_id, glances[batch_id]) if batch_id in glances else None
            return batch_id, seen or batches.read(store, index, batch_id)
        except (ObjectMissing, CorruptBatch) as error:
            return batch_id, error

    ahead: deque[Future[Outcome]] = deque()
    with ThreadPoolExecutor(THREADS, thread_name_prefix="batches") as pool:
        for number, batch_id in enumerate(ids):
            if number % RENEW_EVERY == 0:
                renew()
            ahead.append(pool.submit(one, batch_id))
            if len(ahead) == AHEAD:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
