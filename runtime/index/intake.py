"""New batches of a build: which there are, which can be used, and what to say of the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from runtime.context import Store
from runtime.errors import CorruptBatch, ObjectMissing
from runtime.index import batches, layout
from runtime.index.batches import Batch, Listed
from runtime.index.manifest import Skipped
from runtime.index.spool import Spool

# Batches that are read at once, and held at once.
THREADS, WINDOW = 4, 16
Outcome = tuple[str, Batch | ObjectMissing | CorruptBatch]


@dataclass(slots=True)
class Intake:
    """What came of it. `present`: the (id, etag) of every committed batch that is stored; None: nobody looked."""

    present: set[tuple[str, str]] | None = None
    skipped: list[Skipped] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def gather(
    store: Store,
    index: str,
    spool: Spool,
    *,
    included: set[tuple[str, str]],
    skipped: tuple[Skipped, ...],
    renew: Callable[[], None] = lambda: None,
) -> Intake:
    """Put every batch that is not in `included` into the spool, whose dimensions and model are the index's.

    An index without vectors takes those of the newest batch. What is missing is a warning and looked for again
    in the next build; what is damaged is skipped until it changes.
    """
    listed = batches.listing(store, index)
    intake = Intake(present={(batch_id, found.rows) for batch_id, found in listed.items() if found.rows})
    known = {skip.batch: skip for skip in skipped}
    fresh = []
    for batch_id, found in listed.items():
        old = known.get(batch_id)
        if not found.rows or (batch_id, found.rows) in included:
            continue
        if old and old.etags == _etags(found):
            _skip(intake, old)
        else:
            fresh.append(batch_id)
    fresh.sort(key=lambda batch_id: (-listed[batch_id].modified, batch_id))
    for batch_id, outcome in _read(store, index, fresh, renew):
        path = layout.batch(index, batch_id)
        if isinstance(outcome, ObjectMissing):
            intake.warnings.append(f"Batch {path} is incomplete: {outcome} It is left out until it is there.")
        elif isinstance(outcome, CorruptBatch):
            _skip(intake, Skipped(batch_id, _etags(listed[batch_id]), str(outcome)))
        elif reason := _foreign(path, index, outcome, spool):
            _skip(intake, Skipped(batch_id, _etags(listed[batch_id]), reason))
        else:
            spool.add(outcome)
    return intake


def take(
    store: Store,
    index: str,
    spool: Spool,
    named: Sequence[str],
    *,
    included: set[tuple[str, str]],
    skipped: tuple[Skipped, ...],
    renew: Callable[[], None] = lambda: None,
) -> Intake | None:
    """Put the batches of these names into the spool, without a listing, whose time grows with all that is stored.

    None where one of them cannot be used, or could not before: then the listing has to tell more.
    """
    known = {batch_id for batch_id, _ in included}
    fresh = [batch_id for batch_id in dict.fromkeys(named) if batch_id not in known]
    if not {skip.batch for skip in skipped}.isdisjoint(fresh):
        return None
    for batch_id, outcome in _read(store, index, fresh, renew):
        if not isinstance(outcome, Batch) or _foreign(layout.batch(index, batch_id), index, outcome, spool):
            return None
        spool.add(outcome)
    return Intake(skipped=list(skipped))


def _skip(intake: Intake, skip: Skipped) -> None:
    intake.skipped.append(skip)
    intake.warnings.append(f"{skip.reason} The batch is skipped until it changes.")


def _foreign(path: str, index: str, batch: Batch, spool: Spool) -> str:
    """Why a batch cannot be in one index with the others, or nothing."""
    if not batch.dimensions or not spool.dimensions:
        return ""
    if (batch.dimensions, batch.model) == (spool.dimensions, spool.model):
        return ""
    return (
        f"{path} holds vectors of {batch.dimensions} dimensions by {batch.model}; index {index!r} has "
        f"{spool.dimensions} by {spool.model}, and the two cannot be compared."
    )


def _etags(listed: Listed) -> str:
    return f"{listed.rows} {listed.vectors}"


def _read(store: Store, index: str, ids: list[str], renew: Callable[[], None]) -> Iterator[Outcome]:
    """Read batches ahead, in order, a bounded number at a time."""

    def one(batch_id: str) -> Outcome:
        try:
            return batch_id, batches.read(store, index, batch_id)
        except (ObjectMissing, CorruptBatch) as error:
            return batch_id, error

    with ThreadPoolExecutor(THREADS, thread_name_prefix="batches") as pool:
        for start in range(0, len(ids), WINDOW):
            renew()
            yield from pool.map(one, ids[start : start + WINDOW])
