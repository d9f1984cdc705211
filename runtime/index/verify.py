"""Whether an index is whole, and agrees exactly with the buckets it is made of: same keys, etags and chunk counts.

The newest version is fetched anew from the store and checked part by part; the others are read. It is compared with
the batches it was built from, then every bucket is listed against it. Memory: under 200 bytes a document; no list of
names is held.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import redis

from runtime.buckets.watch import watches
from runtime.config.settings import Project
from runtime.context import ObjectInfo, Row, Store
from runtime.errors import CorruptBatch, CorruptSegment, ObjectMissing
from runtime.index import batches, contents, layout, local, manifest
from runtime.index.cache import SegmentCache
from runtime.index.contents import Contents, etag_hash, name_at
from runtime.index.docs import Positions
from runtime.index.explain import Difference, Explainer, etag_now
from runtime.index.integrity import survey
from runtime.index.manifest import Manifest
from runtime.index.report import SHOWN, Finding, Report
from runtime.index.settling import settle
from runtime.index.spaces import waiting

PASSES = 3
"""A difference is looked at again when a version was published while index and buckets were compared."""

_PAGE, _THREADS = 10_000, 4
Tell = Callable[[str, int, int | None], None]
"""Hears of progress: the step, how much is done, and of how much in all (None: nobody knows)."""


def verify(
    store: Store,
    client: redis.Redis,
    project: Project,
    index: str,
    folder: Path,
    tell: Tell = lambda *_: None,
) -> Report:
    """Compare one index with its buckets: those that a trigger watches for it, and those of its documents.

    `folder` is that of a segment cache, with room for a copy of the index while this runs. Raises StoreDown,
    StoreDenied and BrokerDown.
    """
    layout.check_name(index)
    for number in range(PASSES):
        generation = manifest.newest_generation(store, index)
        with SegmentCache(folder, store).workspace(index) as room:  # what the cache itself holds proves nothing
            report = _Pass(store, client, project, index, tell).run(SegmentCache(room, store))
        for path in local.damaged(folder, index):
            report.add(Finding("local", "", "", f"{path} is not what it was."))
        settle(store, index, folder, report)
        if report.ok or manifest.newest_generation(store, index) == generation or number == PASSES - 1:
            break
    return report


class _Pass:
    """One comparison of what was there at its beginning."""

    def __init__(self, store: Store, client: redis.Redis, project: Project, index: str, tell: Tell) -> None:
        self._store, self._index, self._tell = store, index, tell
        self._watches = [watch for watch in watches(project) if watch.trigger.index == index]
        self._client = client
        self._report = Report(index)

    def run(self, cache: SegmentCache) -> Report:
        report, held, known = self._report, Contents(), frozenset[str]()
        try:
            current = manifest.newest(self._store, self._index)
        except (CorruptSegment, ObjectMissing) as error:
            report.add(Finding("damaged", "", "", str(error)))
            return report
        if current:
            held = contents.read(cache, current, lambda done, total: self._tell("reading the index", done, total))
            self._take(current, held)
            known = frozenset(current.parts)
        for damage in survey(self._store, self._index, known, partial(self._tell, "reading older versions")):
            report.add(Finding("damaged", "", "", damage.detail))
        explainer = Explainer(self._client, self._store, self._watches, partial(self._unpublished, current, held))
        explainer.look()
        self._chunks(current.space if current else self._index, held)
        for finding in explainer.findings(self._differences(held)):
            report.add(finding)
        return report

    def _take(self, current: Manifest, held: Contents) -> None:
        report = self._report
        report.generation, report.version = current.generation, current.version
        report.texts = int(held.held["text"].sum())
        report.documents = len(held.held) - report.texts
        report.chunks = int(held.held["chunks"].sum(dtype=np.int64))
        if current.held:
            at = current.restores or current.generation
            report.notes.append(f"A rollback holds the index at generation {at}; nothing is built.")
        report.notes += [f"{skip.reason} The batch is skipped until it changes." for skip in current.skipped]
        for damage in held.damage:
            report.add(Finding("damaged", "", "", damage))
        if held.damage:
            report.notes.append("What the damaged part holds was not compared with the buckets.")
        for part, row in held.stale:
            old = name_at(held.parts[part], row)
            detail = f"an older version of it, etag {old.etag}, is still found"
            report.add(Finding("extra", old.bucket, old.key, detail))

    def _unpublished(self, current: Manifest | None, held: Contents) -> list[tuple[str, str]]:
        """The committed batches, (space, id), that the version is not made of; without vectors none ever will be."""
        if held.damage:
            return []  # what the damaged part was made of is unknown
        space = current.space if current else self._index
        skipped = {skip.batch for skip in current.skipped} if current else set()
        listed = batches.listing(self._store, space).items()
        committed = [(name, found.rows) for name, found in listed if found.rows and found.vectors]
        read = held.read(committed).tolist()
        fresh = [
            (space, name) for (name, _), old in zip(committed, read, strict=True) if not old and name not in skipped
        ]
        late = waiting(self._store, self._index, space).batches if current and current.native else ()
        return [*fresh, *late]

    def _chunks(self, space: str, held: Contents) -> None:
        """What is searchable of each document against the batch that it was written with."""
        groups, done = held.by_batch(), 0
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="verify") as pool:
            while window := list(islice(groups, 4 * _THREADS)):
                for (batch_id, places), found in zip(window, pool.map(partial(self._rows, space), window), strict=True):
                    if isinstance(found, str):
                        detail = f"{found} {len(places)} documents of the index were made from it."
                        self._report.add(Finding("damaged", "", "", detail))
                        room = SHOWN - len(self._report.lost)
                        lost = (held.name(place) for place in places[:room].tolist())
                        self._report.lost += [(name.bucket, name.key) for name in lost if name.bucket]
                    else:
                        self._compare(held, batch_id, places, found)
                    done += len(places)
                self._tell("counting chunks", done, len(held.held))

    def _rows(self, space: str, group: tuple[str, Positions]) -> list[Row] | str:
        try:
            return batches.read(self._store, space, group[0]).rows  # with its vectors: they have a hash, too
        except (CorruptBatch, ObjectMissing) as error:
            return str(error)

    def _compare(self, held: Contents, batch_id: str, places: Positions, rows: Sequence[Row]) -> None:
        written = Counter((row.bucket, row.key, row.etag) for row in rows if row.op == "put")
        for place in places.tolist():
            name, chunks = held.name(place), int(held.held["chunks"][place])
            expected = written[name.bucket, name.key, name.etag]
            if chunks != expected:
                detail = f"{chunks} chunks are searchable, its batch {batch_id[:12]} has {expected}"
                self._report.add(Finding("chunks", name.bucket, name.key, detail))

    def _differences(self, held: Contents) -> Iterator[Difference]:
        seen = np.array(held.held["text"])
        watched = {watch.trigger.bucket for watch in self._watches}
        self._report.buckets = sorted(watched | held.buckets)
        for bucket in self._report.buckets:
            listing, done = self._list(bucket), 0
            while page := list(islice(listing, _PAGE)):
                places = held.find([(bucket, info.key) for info in page])
                seen[places[places >= 0]] = True
                for info, place in zip(page, places.tolist(), strict=True):
                    wanted = self._wants(info)
                    self._report.objects += wanted
                    if place < 0 and wanted and not held.damage:  # else nobody knows what the damaged part held
                        yield Difference(bucket, info.key, "", info.etag)
                    elif place >= 0 and int(held.held["etag"][place]) != etag_hash(info.etag):
                        yield Difference(bucket, info.key, held.name(place).etag, info.etag)
                done += len(page)
                self._tell(f"listing {bucket}", done, None)
        yield from self._gone(held, np.flatnonzero(~seen).astype(np.int64))

    def _gone(self, held: Contents, places: Positions) -> Iterator[Difference]:
        """Documents that no listing had. A listing may miss what is written while it runs: a HEAD decides."""
        for number, place in enumerate(places.tolist()):
            name = held.name(place)
            stored = etag_now(self._store, name.bucket, name.key) if number < SHOWN else ""
            if stored != name.etag:
                yield Difference(name.bucket, name.key, name.etag, stored)

    def _list(self, bucket: str) -> Iterator[ObjectInfo]:
        try:
            yield from self._store.list(bucket)
        except ObjectMissing:
            self._report.notes.append(f"There is no bucket {bucket}.")

    def _wants(self, info: ObjectInfo) -> bool:
        """Whether a trigger takes this object into the index."""
        return any(
            watch.trigger.bucket == info.bucket and "created" in watch.trigger.events and watch.wants(info.key)
            for watch in self._watches
        )
