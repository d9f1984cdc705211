"""What of an index in the store nobody needs any more; a decision from listings and manifests that changes nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from runtime.context import ObjectInfo, Store
from runtime.errors import CorruptSegment, ObjectMissing
from runtime.index import batches, included, layout, manifest, pieces, spaces
from runtime.index.batches import Listed
from runtime.index.cache import SegmentCache
from runtime.index.docs import winners
from runtime.index.included import Batch
from runtime.index.manifest import Manifest
from runtime.index.pieces import PIECES
from runtime.index.segment import TABLE, load_docs

Used = Callable[[Manifest], tuple[set[Batch], set[Batch]]]
"""The batches, (id, etag), that a version has read, and those that hold the newest version of a document."""

HALF_BATCH_SECONDS = 86_400.0
log = logging.getLogger("tundish.index")


@dataclass(frozen=True, slots=True)
class Removal:
    """Objects that go together, in this order; not where the first was written again after the moment `seen`, nor
    where there is an object `unless`."""

    kind: str
    keys: tuple[str, ...]
    seen: float | None = None
    unless: str = ""


@dataclass(frozen=True, slots=True)
class Moments:
    """Seconds since the epoch, by the store's clock. What was not needed since `limit` goes. Since `grace` a builder
    may have uploaded what it has not committed yet, or a reader may have begun to load what was current."""

    now: float
    limit: float
    grace: float


class Unneeded:
    """Of one index; `current` is its newest version. `migrating`: whose batches a migration under way writes."""

    def __init__(
        self,
        store: Store,
        cache: SegmentCache,
        index: str,
        current: Manifest | None,
        moments: Moments,
        migrating: str | None = None,
        used: Used | None = None,
    ) -> None:
        """`used`: asks whoever holds a version that is not held in files."""
        self._asked = used
        self._store, self._cache, self._index, self._current = store, cache, index, current
        self._moments, self._migrating = moments, migrating
        # Folders and sets of tombstones, by the versions that are kept: there may be many.
        self._named, self._spaces = set[str](), set[str]()
        self._certain = True
        self._segments = set[str]()
        """By name, of all versions that are kept."""

    def removals(self) -> Iterator[Removal]:
        """In the order in which they leave a whole index behind, wherever one stops."""
        yield from self._versions()
        if self._certain:
            yield from self._parts()
            yield from self._batches()

    def _versions(self) -> Iterator[Removal]:
        """A version counts from when another one took its place."""
        earliest = min(self._moments.limit, self._moments.grace)
        newest = self._current.generation if self._current else 0
        yield from self._chain(self._index, newest, earliest)
        for shadow in spaces.shadows(self._store, self._index):
            listed = dict(manifest.listed(self._store, shadow))
            top = max(listed, default=0)
            # A migration that ended, or was given up, has no use for its chain.
            over = shadow != self._migrating and top and listed[top].modified < earliest
            yield from self._chain(shadow, top + 1 if over else top, earliest)
            if over:
                yield Removal("manifests", (layout.latest(shadow),))

    def _chain(self, index: str, newest: int, earliest: float) -> Iterator[Removal]:
        """Those below `newest` that were superseded before `earliest`; the others are kept."""
        listed = sorted(manifest.listed(self._store, index))
        for place, (generation, item) in enumerate(listed):
            successor = listed[place + 1][1] if place + 1 < len(listed) else item
            if generation < newest and successor.modified < earliest:
                yield Removal("manifests", (item.key,))
            else:
                self._keep(index, generation)

    def _keep(self, index: str, generation: int) -> None:
        try:
            version = manifest.read(self._store, index, generation)
            self._named |= set(map(layout.folder, version.parts))
            self._spaces.add(version.space)
            self._segments |= {ref.segment for ref in version.segments}
        except CorruptSegment as error:
            log.warning("Of index %s only old versions are removed, as nobody knows what is needed: %s", index, error)
            self._certain = False
        except ObjectMissing:
            pass  # another cleanup was faster

    def _parts(self) -> Iterator[Removal]:
        limit = self._moments.grace
        for kind, prefix in (
            ("segments", layout.segments(self._index)),
            ("tombstones", layout.tombstones(self._index)),
        ):
            for name, items in _grouped(prefix, self._store.list(self._store.bucket, prefix)).items():
                if name not in self._named and max(item.modified for item in items) <= limit:
                    # A build may write the same tombstones once more.
                    yield Removal(kind, tuple(item.key for item in items), limit)

    def _batches(self) -> Iterator[Removal]:
        """Those that the current version has read, and of which it holds nothing. In other models' vectors they go
        first, or a migration would miss them; there also goes what no kept version is made of. The index's own folder
        keeps what it has: it could be built from that if all its manifests were lost."""
        mine = self._current.space if self._current else self._index
        limit, listed = self._moments.limit, batches.listing(self._store, mine)
        read, needed = self._used()
        try:
            self._referred = self._referred_to()
        except CorruptSegment as error:
            log.warning("Of index %s no batches are removed, as nobody knows which are needed: %s", self._index, error)
            return
        here = {name for name, found in listed.items() if (name, found.rows) in read}
        useless = {name for name in here if listed[name].modified < limit and (name, listed[name].rows) not in needed}
        kept = {self._index, self._migrating, *self._spaces}
        for space in spaces.spaces(self._store, self._index):
            if space == mine:
                continue
            others = batches.listing(self._store, space)
            gone = {
                name
                for name, found in others.items()
                if name in useless or (space not in kept and name in here and found.modified < limit)
            }
            yield from self._removed(space, others, gone)
        yield from self._removed(mine, listed, useless)

    def _removed(self, space: str, listed: dict[str, Listed], gone: set[str]) -> Iterator[Removal]:
        half_limit = min(self._moments.limit, self._moments.now - HALF_BATCH_SECONDS)
        for name, found in listed.items():
            if (space, name) in self._referred:
                continue
            path = layout.batch(space, name)
            if not found.rows and found.modified < half_limit:
                yield Removal("half_batches", (path + layout.VECTORS,), half_limit, path + layout.ROWS)
            elif name in gone:
                # The commit goes first: without it the batch does not exist.
                yield Removal("batches", (path + layout.ROWS, path + layout.VECTORS), found.modified)

    def _referred_to(self) -> set[tuple[str, str]]:
        """The batches, (space, id), whose vectors a segment of a kept version has as its own, be they all dead."""
        found = set[tuple[str, str]]()
        for name in self._segments:
            if layout.is_packed(name) or not (space := self._cache.meta(self._index, name).refers):
                continue
            _, listed = pieces.load(self._cache.folder(self._index, name, (PIECES,)))
            found |= {(space, batch) for batch, _ in pieces.objects(listed)}
        return found

    def _used(self) -> tuple[set[Batch], set[Batch]]:
        """The batches that the current version has read, and those that hold the newest version of a document, be it
        that it is gone: an index that is rebuilt from these is the same index."""
        read, needed = set[Batch](), set[Batch]()
        if self._current and self._current.remote:
            return self._asked(self._current) if self._asked else (read, needed)
        refs = self._current.segments if self._current else ()
        tables = [load_docs(self._cache.folder(self._index, ref.segment, (TABLE,))) for ref in refs]
        if not tables:
            return read, needed
        everything = np.concatenate(tables)
        winning = np.zeros(len(everything), bool)
        winning[winners(everything)] = True
        borders = np.cumsum([len(table) for table in tables])[:-1]
        for ref, table, mine in zip(refs, tables, np.split(winning, borders), strict=True):
            known = included.of_segment(self._cache, self._index, ref.segment)
            needed.update(known[int(place)] for place in np.unique(table["batch"][mine]))
            read.update(known)
        return read, needed


def _grouped(prefix: str, items: Iterable[ObjectInfo]) -> dict[str, list[ObjectInfo]]:
    """Objects by the first part of their name after the prefix."""
    groups: dict[str, list[ObjectInfo]] = {}
    for item in items:
        groups.setdefault(item.key[len(prefix) :].partition("/")[0], []).append(item)
    return groups
