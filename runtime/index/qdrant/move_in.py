"""An index from FAISS to Qdrant: its stored batches become points of a new collection, and nothing is embedded again.

FAISS answers, and takes new documents, until the collection holds what the newest version does and finds what an exact
scan finds; then one manifest names it. What is done is known by the collection itself: a batch that was taken has its
point there. So after whatever happened the same call goes on where it was.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from collections.abc import Collection as Several
from dataclasses import replace

import redis

from runtime.context import Store
from runtime.errors import CorruptBatch, IndexUnavailable, ObjectMissing
from runtime.index import batches, layout, manifest
from runtime.index.cache import SegmentCache
from runtime.index.intake import foreign
from runtime.index.lease import BuildLease
from runtime.index.manifest import Manifest
from runtime.index.migrate import Progress
from runtime.index.qdrant import comparing, epochs, ledger, moving
from runtime.index.qdrant.cleaning import kept_views
from runtime.index.qdrant.collection import Collection, switch
from runtime.index.qdrant.conditions import both, first, seen
from runtime.index.qdrant.engine import Connections
from runtime.index.qdrant.filling import Filling, Known
from runtime.index.qdrant.mover import ROUNDS, Build, Mover, Tell
from runtime.index.qdrant.moving import Move
from runtime.index.qdrant.target import Target, compare_counts, compare_recall, movable
from runtime.index.recall import opened
from runtime.index.remote import Remote

log = logging.getLogger("tundish.index")


class MoveIn(Mover):
    """Moves indexes to Qdrant."""

    def __init__(
        self,
        store: Store,
        client: redis.Redis,
        cache: SegmentCache,
        build: Build,
        tell: Tell,
        connections: Connections,
    ) -> None:
        super().__init__(store, client, cache, build, tell)
        self._connections = connections

    def migrate(
        self, index: str, target: Target, stop: Callable[[], bool], report: Callable[[int, int], object]
    ) -> Progress:
        """Work until Qdrant answers, or `stop` says so; `report` hears of batches (done, total).

        Raises BadInput, EngineDown, and IndexUnavailable where Qdrant does not hold, or find, what FAISS does.
        """
        damaged: dict[str, str] = {}
        total = 0
        for _ in range(ROUNDS):
            current = movable(index, manifest.newest(self._store, index))
            if current.engine == target.name:
                moving.forget(self._store, index)
                return Progress(total, total, generation=current.generation, damaged=tuple(damaged.values()))
            move = self._begun(index, current)
            left, total = self._fill(index, move, stop, report, damaged)
            if left:
                return Progress(total - left, total, left=True)
            self._build(index)
            made = self._switch(index, target, move, damaged, stop)
            if made:
                return Progress(total, total, generation=made.generation, damaged=tuple(damaged.values()))
        return Progress(total, total, left=True)

    def _begun(self, index: str, current: Manifest) -> Move:
        """The collection that is being filled, or a new one: not where that is for another model, or has become a
        version's."""
        move = moving.read(self._store, index)
        if (
            move
            and move.model == current.model
            and Collection(self._connections(index), move.collection).exists()
            and move.collection not in {one.collection for one in kept_views(self._store, index)}
        ):
            moving.write(self._store, index, move)  # cleanup leaves it alone
            return move
        epoch = epochs.take(self._client, index, 0)
        made = ledger.begin(self._store, index, epoch, "migration")
        Collection(self._connections(index), made.collection).create(current.dimensions)
        move = Move(made.collection, epoch, current.model)
        moving.write(self._store, index, move)
        return move

    def _fill(
        self,
        index: str,
        move: Move,
        stop: Callable[[], bool],
        report: Callable[[int, int], object],
        damaged: dict[str, str],
    ) -> tuple[int, int]:
        """Send what the collection lacks; how many batches are left, and how many there are in all."""
        missing, total = self._missing(index, move)
        missing = [name for name in missing if name not in damaged]
        filling, space = self._filling(index, move), self._space(index)
        done = total - len(missing)
        report(done, total)
        for number, name in enumerate(missing):
            if stop():
                return len(missing) - number, total
            try:
                batch = batches.read(self._store, space, name)
                if reason := foreign(layout.batch(space, name), index, batch, filling):
                    raise CorruptBatch(reason)
                filling.add(batch)
            except ObjectMissing:  # cleanup removed it: a newer version of all its documents is there
                log.info("index %s: batch %s is gone; it is not needed", index, name)
            except CorruptBatch as error:
                log.warning("index %s: %s It is not moved.", index, error)
                damaged[name] = str(error)
            report(done + number + 1, total)
        return 0, total

    def _missing(self, index: str, move: Move) -> tuple[list[str], int]:
        """The newest first: what is older than something that is there is not even sent."""
        current = manifest.newest(self._store, index)
        skipped = {skip.batch for skip in current.skipped} if current else set()
        found = batches.listing(self._store, self._space(index))
        listed = {name: one for name, one in found.items() if one.rows and name not in skipped}
        committed = sorted(((name, one.rows) for name, one in listed.items()), key=lambda one: -listed[one[0]].modified)
        known = Known(index, Collection(self._connections(index), move.collection), _view(move))
        read = known.holds(committed).tolist()
        return [name for (name, _), old in zip(committed, read, strict=True) if not old], len(committed)

    def _filling(self, index: str, move: Move) -> Filling:
        current = manifest.newest(self._store, index)
        collection = Collection(self._connections(index), move.collection)
        filling = Filling(index, collection, Remote(move.collection, move.epoch - 1), lambda _: move.epoch)
        filling.epoch = move.epoch
        if current:
            filling.dimensions, filling.model = current.dimensions, current.model
        return filling

    def _space(self, index: str) -> str:
        current = manifest.newest(self._store, index)
        return current.space if current else index

    def _switch(
        self, index: str, target: Target, move: Move, damaged: Several[str], stop: Callable[[], bool]
    ) -> Manifest | None:
        """Let Qdrant answer; None where something came that it lacks."""
        collection = Collection(self._connections(index), move.collection)
        if not collection.wait_ready(stop):
            return None
        before = movable(index, manifest.newest(self._store, index))
        view = self._counted(collection, move, before.dimensions)
        found = comparing.recall(
            opened(self._cache, before), replace(before, remote=view), self._connections.fresh(), target.sample
        )
        with BuildLease(self._client, index):
            current = movable(index, manifest.newest(self._store, index))
            missing, _ = self._missing(index, move)
            if current.generation != before.generation or set(missing) - set(damaged):
                return None
            try:
                compare_counts(index, target, current, view.rows, view.documents)
            except IndexUnavailable:  # the next try fills another collection: nothing takes away what is too much here
                moving.forget(self._store, index)
                raise
            compare_recall(index, target, found)
            there = replace(current, segments=(), kind="qdrant", faiss="", remote=view, restores=None)
            made = self._publish(current, there)
        moving.forget(self._store, index)
        switch(self._connections(index), ledger.alias(index), move.collection)
        return made

    def _counted(self, collection: Collection, move: Move, dimensions: int) -> Remote:
        view = _view(move)
        rows = collection.count(seen(view))
        return replace(
            view, rows=rows, documents=collection.count(both(seen(view), first())), bytes=rows * dimensions * 4
        )


def _view(move: Move) -> Remote:
    return Remote(move.collection, move.epoch)
