"""An index in another model's vectors: every batch is embedded again from its stored text, beside the old ones.

The new version grows in a chain of manifests of its own. When it holds what the old one holds it becomes the next
version of the index: that one manifest is the switch. Batches of the other model that come later are embedded again
in the same way, so nothing is lost by being late. Whatever is done lies in the store under names that are made of what
it was made from: after a crash the same call goes on where it was.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
import redis

from runtime.context import BuildReport, Models, Row, Store
from runtime.errors import BadInput, CorruptBatch, CorruptSegment, ObjectMissing, PreconditionFailed, Retry
from runtime.index import batches, layout, manifest
from runtime.index.cache import SegmentCache
from runtime.index.docs import DOCS, Docs, Vectors, find, newer, winners
from runtime.index.lease import BuildLease
from runtime.index.manifest import Manifest
from runtime.index.segment import TABLE, load_docs
from runtime.index.spaces import PART, Waiting, waiting

SLICE = 64
"""Texts that are embedded at once."""

PART_ROWS = 512
"""A batch with more rows is committed in parts, between documents: so much is done again after a crash."""

_ROUNDS = 5
"""Looks at what came while the new version was built, before the rest is left to the next call."""

FEW_LATE, LATE_SECONDS = 16, 10.0
"""So many batches that came last are embedded while builds wait, and for so long: else an index to which something is
added all the time would never get its model."""

Build = Callable[..., tuple[BuildReport, Manifest | None]]
"""`Builder.build`."""

Tell = Callable[[Manifest], object]
log = logging.getLogger("tundish.index")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is: `done` of `total` batches. `left`: the call ended because it was asked to; it has to go on.

    `generation` is that of the switch, or of the version that holds what was late; 0 where there is none.
    """

    done: int
    total: int
    left: bool = False
    generation: int = 0
    damaged: tuple[str, ...] = ()


class _Stopped(Exception):
    """The caller wants to go on another time."""


class Migrator:
    """Migrates the indexes of one store. `build` publishes what a space has, `tell` announces a version."""

    def __init__(self, store: Store, client: redis.Redis, cache: SegmentCache, build: Build, tell: Tell) -> None:
        self._store, self._client, self._cache, self._build, self._tell = store, client, cache, build, tell

    def has(self, index: str, models: Models) -> bool:
        """Whether the index is made with this model already."""
        current = manifest.newest(self._store, index)
        return current is not None and current.model == models.name

    def migrate(
        self, index: str, models: Models, stop: Callable[[], bool], report: Callable[[int, int], object]
    ) -> Progress:
        """Work until the index is `models`' or `stop` says so; what is another model's is embedded again.

        `report` hears of batches (done, total). Raises BadInput where there is nothing to migrate or a rollback holds
        the index, and CorruptSegment where the new version does not hold what the old one does.
        """
        current = self._current(index, models)
        target = layout.space(index, models.name, current.native or current.model)
        for _ in range(_ROUNDS):
            found = waiting(self._store, index, target)
            total, damaged = found.total, dict[str, str]()
            done = total - len(found.batches)
            report(done, total)
            for space, name in found.batches:
                try:
                    self._again(space, name, target, models, found, stop)
                except _Stopped:
                    return Progress(done, total, left=True)
                except ObjectMissing:  # cleanup removed it: a newer version of all its documents is there
                    log.info("index %s: batch %s is gone; it needs no other vectors", index, name)
                except CorruptBatch as error:
                    log.warning("index %s: %s It is not embedded again.", index, error)
                    damaged[name] = str(error)
                    continue
                done += 1
                report(done, total)
            if current.model == models.name:
                built, _ = self._build(index)
                return Progress(done, total, generation=built.generation, damaged=tuple(damaged.values()))
            made = self._switch(index, target, models, damaged)
            if made:
                return Progress(done, total, generation=made.generation, damaged=tuple(damaged.values()))
            if stop():
                break
            current = self._current(index, models)
        return Progress(done, total, left=True)

    def _current(self, index: str, models: Models) -> Manifest:
        current = manifest.newest(self._store, index)
        if current is None or not current.model:
            raise BadInput(
                f"Index {index} has no vectors yet: there is nothing to migrate. Which model a new index gets is said "
                f"by `indexes: {{{index}: {{model: …}}}}` in functions.yaml."
            )
        if current.held and current.model != models.name:
            raise BadInput(
                f"Index {index} is held by a rollback. Let builds go on first: "
                f"tundish index release --index {index}; then migrate it."
            )
        return current

    def _again(
        self, space: str, name: str, target: str, models: Models, found: Waiting, stop: Callable[[], bool]
    ) -> list[str]:
        """One batch with the vectors of another model; the names that were written. Raises ObjectMissing,
        CorruptBatch."""
        commit = batches.read_commit(self._store, space, name)
        *parts, last = _parted(commit.rows())
        made = []

        def write(name: str, rows: list[Row]) -> str:
            vectors = _embedded(rows, models, stop)
            return batches.write(self._store, target, name, rows, vectors, models.name, commit.made, (models.backend,))

        for number, rows in enumerate(parts):
            if (part := f"{name}{PART}{number}") not in found.parts:
                made.append(write(part, rows))
        made.append(write(name, last))
        return [path.rstrip("/").rpartition("/")[2] for path in made]

    def _switch(self, index: str, target: str, models: Models, damaged: Mapping[str, str]) -> Manifest | None:
        """Make the new version the index's own; None where it lacks too much of what came meanwhile."""
        shadow = layout.shadow(index, models.name)
        self._prepare(index, shadow, models)
        self._build(shadow)
        with BuildLease(self._client, index) as lease:
            current = self._current(index, models)
            if current.model == models.name or not self._caught_up(index, target, models, damaged):
                return None  # the next round sees to it
            new = manifest.newest(self._store, shadow)
            if new is None:
                return None
            if missing := self._missing(current, new):
                why = " ".join(damaged.values()) or "See what `tundish index verify` says of its batches."
                raise CorruptSegment(
                    f"Index {index} keeps its model: {missing} of its documents are not the same in the vectors of "
                    f"{models.name}. {why}"
                )
            lease.renew()
            made = replace(
                new,
                index=index,
                created=time.time(),
                builder=uuid.uuid4().hex,
                model=models.name,
                dimensions=models.dimensions,
                max_seq=max(current.max_seq, new.max_seq),
                native=current.native or current.model,
                digest="",
                etag="",
            )
            try:
                made = manifest.commit(self._store, manifest.successor(current, made))
            except PreconditionFailed:  # a build was faster: what it published may be missing here
                return None
            self._tell(made)
            manifest.write_hint(self._store, made)
        discard(self._store, shadow)
        return made

    def _caught_up(self, index: str, target: str, models: Models, damaged: Mapping[str, str]) -> bool:
        """Whether the new version holds all that was written until now; the last few batches are added to it."""
        found = waiting(self._store, index, target)
        late = [(space, name) for space, name in found.batches if name not in damaged]
        if len(late) > FEW_LATE:
            return False
        until, names = time.monotonic() + LATE_SECONDS, list[str]()
        for space, name in late:
            try:
                names += self._again(space, name, target, models, found, lambda: time.monotonic() > until)
            except ObjectMissing:
                continue
            except (_Stopped, CorruptBatch):
                return False
        if names:
            self._build(layout.shadow(index, models.name), names)
        return True

    def _prepare(self, index: str, shadow: str, models: Models) -> None:
        """An empty version says which model the builds of the shadow are for, and whose batches they take."""
        if manifest.newest(self._store, shadow):
            return
        current = self._current(index, models)
        first = Manifest(
            index=shadow,
            generation=0,
            created=time.time(),
            builder=uuid.uuid4().hex,
            dimensions=models.dimensions,
            model=models.name,
            faiss=current.faiss,
            max_seq=0,
            segments=(),
            native=current.native or current.model,
        )
        try:
            manifest.commit(self._store, manifest.successor(None, first))
        except PreconditionFailed as error:
            raise Retry(f"Another migration of index {index} has just begun.", after=1.0) from error

    def _missing(self, current: Manifest, new: Manifest) -> int:
        """How many documents of `current` have an older version in `new`, another number of chunks, or are not there.

        A newer version is a document that was embedded and not published yet.
        """
        old, made = self._table(current), self._table(new)
        at = find(made, old)
        known = at >= 0
        left, right = old[known], made[at[known]]
        same = newer(right, left)
        equal = np.ones(len(left), bool)
        for name in ("seq", "tie", "op", "count"):
            equal &= left[name] == right[name]
        return int(len(old) - (same | equal).sum())

    def _table(self, version: Manifest) -> Docs:
        """The winning version of every document, deletes included, in the order of their hashes."""
        folders = (self._cache.folder(version.index, ref.segment, (TABLE,)) for ref in version.segments)
        tables = [load_docs(folder) for folder in folders]
        if not tables:
            return np.empty(0, DOCS)
        everything = np.concatenate(tables)
        chosen: Docs = everything[winners(everything)]
        return chosen


def discard(store: Store, shadow: str) -> None:
    """Forget a chain of versions that were never the index's own. Their segments are cleanup's."""
    store.delete(store.bucket, layout.latest(shadow))
    for _, item in list(manifest.listed(store, shadow)):
        store.delete(store.bucket, item.key)


def _parted(rows: list[Row]) -> list[list[Row]]:
    """Rows in parts of bounded size; those of one document stay together."""
    parts: list[list[Row]] = [[]]
    for _, members in groupby(sorted(rows, key=_place), key=_place):
        document = list(members)
        if parts[-1] and len(parts[-1]) + len(document) > PART_ROWS:
            parts.append([])
        parts[-1] += document
    return parts


def _place(row: Row) -> tuple[str, str, int]:
    return row.bucket, row.key, row.seq


def _embedded(rows: list[Row], models: Models, stop: Callable[[], bool]) -> Vectors:
    texts = [row.text for row in rows if row.op == "put"]
    parts: list[Vectors] = [np.zeros((0, models.dimensions), np.float32)]
    for first in range(0, len(texts), SLICE):
        if stop():
            raise _Stopped
        parts.append(models.embed(texts[first : first + SLICE]))
    return np.concatenate(parts)
