"""Whether an index in Qdrant is whole and agrees with its buckets: what `runtime.index.verify` asks of one in files.

Memory: two numbers a document, in a dictionary, about 120 bytes.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count, islice

import redis
from qdrant_client import models

from runtime.buckets.watch import Watch, watches
from runtime.config.settings import Project
from runtime.context import ObjectInfo, Store
from runtime.errors import ObjectMissing
from runtime.index import batches, manifest
from runtime.index.contents import etag_hash
from runtime.index.explain import Difference, Explainer, etag_now
from runtime.index.manifest import Manifest
from runtime.index.qdrant import ledger, points
from runtime.index.qdrant.collection import Collection, alias_of
from runtime.index.qdrant.conditions import any_of, both, first, seen
from runtime.index.qdrant.connection import Connection
from runtime.index.qdrant.filling import Known
from runtime.index.report import SHOWN, Finding, Report
from runtime.index.spaces import waiting

PATIENCE_SECONDS, PAUSE_SECONDS = 2.0, 0.2
PASSES = 3
_PAGE = 10_000
TWICE = "two versions of it are found"
Tell = Callable[[str, int, int | None], None]


def verify(
    store: Store, client: redis.Redis, project: Project, connection: Connection, tell: Tell = lambda *_: None
) -> Report:
    """Compare one index with its buckets; what is only on its way is waited for a moment, and a difference is looked at
    again when a version was published meanwhile.

    Raises EngineDown, StoreDown, StoreDenied and BrokerDown.
    """
    end = time.monotonic() + PATIENCE_SECONDS
    for number in count(1):
        generation = manifest.newest_generation(store, connection.index)
        report = _Pass(store, client, project, connection, tell).run()
        if report.ok:
            break
        if number < PASSES and manifest.newest_generation(store, connection.index) != generation:
            continue
        if not report.counts["pending"] or time.monotonic() >= end:
            break
        time.sleep(PAUSE_SECONDS)
    return report


class _Pass:
    """One comparison of what was there at its beginning."""

    def __init__(self, store: Store, client: redis.Redis, project: Project, connection: Connection, tell: Tell) -> None:
        self._store, self._client, self._connection, self._tell = store, client, connection, tell
        self._index = connection.index
        self._watches = [watch for watch in watches(project) if watch.trigger.index == self._index]
        self._report = Report(self._index)
        self._held: dict[int, int] = {}
        self._buckets = set[str]()

    def run(self) -> Report:
        report, current = self._report, manifest.newest(self._store, self._index)
        if current is None or current.remote is None:
            return report
        report.generation, report.version = current.generation, current.version
        if current.held:
            at = current.restores or current.generation
            report.notes.append(f"A rollback holds the index at generation {at}; nothing is built.")
        report.notes += [f"{skip.reason} The batch is skipped until it changes." for skip in current.skipped]
        collection = Collection(self._connection, current.remote.collection)
        if not collection.exists():
            self._damaged(f"Collection {collection.name} is gone from Qdrant at {self._connection.place}.")
            return report
        self._alias(current.remote.collection)
        self._read(collection, current)
        explainer = Explainer(self._client, self._store, self._watches, lambda: self._unpublished(collection, current))
        explainer.look()
        for finding in explainer.findings(self._differences(collection, current)):
            report.add(finding)
        return report

    def _damaged(self, detail: str) -> None:
        self._report.add(Finding("damaged", "", "", detail))

    def _alias(self, collection: str) -> None:
        """Searches do not depend on it: it is for others who look into Qdrant."""
        alias = ledger.alias(self._index)
        if (named := alias_of(self._connection, alias)) != collection:
            told = f"names {named}" if named else "is gone"
            self._damaged(f"The alias {alias} {told}; the newest version is in {collection}. `hot_swap` mends it.")

    def _read(self, collection: Collection, current: Manifest) -> None:
        """Which documents the version holds; that their chunks are there."""
        remote, report, chunks = current.remote, self._report, 0
        if remote is None:
            return
        fields = ("bucket", "key", "document", "etag", "chunks")
        for page in collection.scroll(both(seen(remote), first()), fields):
            for payload in (one.payload or {} for one in page):
                name = _number(payload["document"])
                if name in self._held:
                    report.add(Finding("extra", payload["bucket"], payload["key"], TWICE))
                    continue
                self._held[name] = etag_hash(payload["etag"])
                chunks += payload["chunks"]
                report.texts += not payload["bucket"]
                self._buckets.add(payload["bucket"])
            self._tell("reading the index", len(self._held), remote.documents)
        self._buckets.discard("")
        report.documents, report.chunks = len(self._held) - report.texts, collection.count(seen(remote))
        if (report.chunks, len(self._held)) != (remote.rows, remote.documents):
            self._damaged(
                f"Collection {collection.name} holds {report.chunks} chunks of {len(self._held)} documents; the "
                f"manifest says {remote.rows} of {remote.documents}."
            )
        if report.chunks != chunks:
            self._chunks(collection, current)

    def _chunks(self, collection: Collection, current: Manifest) -> None:
        """Whose chunks are too many or too few. Only where it is known that some are."""
        if current.remote is None:
            return
        found, expected = Counter[int](), dict[int, tuple[str, str, int]]()
        for page in collection.scroll(seen(current.remote), ("bucket", "key", "document", "chunks")):
            for payload in (one.payload or {} for one in page):
                name = _number(payload["document"])
                found[name] += 1
                if "chunks" in payload or name not in expected:
                    expected[name] = payload["bucket"], payload["key"], payload.get("chunks", 0)
        for name, (bucket, key, chunks) in expected.items():
            if found[name] != chunks:
                self._report.add(Finding("chunks", bucket, key, f"{found[name]} are searchable, it has {chunks}"))

    def _unpublished(self, collection: Collection, current: Manifest) -> list[tuple[str, str]]:
        """The committed batches, (space, id), that the version is not made of."""
        skipped = {skip.batch for skip in current.skipped}
        listed = batches.listing(self._store, current.space)
        committed = [(name, found.rows) for name, found in listed.items() if found.rows and name not in skipped]
        read = Known(self._index, collection, current.remote).holds(committed).tolist()
        fresh = [(current.space, name) for (name, _), old in zip(committed, read, strict=True) if not old]
        late = waiting(self._store, self._index, current.space).batches if current.native else ()
        return [*fresh, *late]

    def _differences(self, collection: Collection, current: Manifest) -> Iterator[Difference]:
        left = set(self._held)
        self._report.buckets = sorted({watch.trigger.bucket for watch in self._watches} | self._buckets)
        for bucket in self._report.buckets:
            listing, done = self._list(bucket), 0
            while page := list(islice(listing, _PAGE)):
                for info in page:
                    name = _number(points.document_id(self._index, bucket, info.key))
                    left.discard(name)
                    wanted = _wants(self._watches, info)
                    self._report.objects += wanted
                    known = self._held.get(name)
                    if known is None and wanted:
                        yield Difference(bucket, info.key, "", info.etag)
                    elif known is not None and known != etag_hash(info.etag):
                        yield Difference(bucket, info.key, "another etag", info.etag)
                done += len(page)
                self._tell(f"listing {bucket}", done, None)
        yield from self._gone(collection, current, left)

    def _gone(self, collection: Collection, current: Manifest, left: set[int]) -> Iterator[Difference]:
        """Documents that no listing had. A listing may miss what is written while it runs: a HEAD decides."""
        if current.remote is None or len(left) == self._report.texts:
            return
        which = both(seen(current.remote), first(), models.Filter(must=[any_of("bucket", sorted(self._buckets))]))
        number = 0
        for page in collection.scroll(which, ("bucket", "key", "document", "etag")):
            for payload in (one.payload or {} for one in page):
                if _number(payload["document"]) in left:
                    bucket, key, etag = payload["bucket"], payload["key"], payload["etag"]
                    stored = etag_now(self._store, bucket, key) if number < SHOWN else ""
                    number += 1
                    if stored != etag:
                        yield Difference(bucket, key, etag, stored)

    def _list(self, bucket: str) -> Iterator[ObjectInfo]:
        try:
            yield from self._store.list(bucket)
        except ObjectMissing:
            self._report.notes.append(f"There is no bucket {bucket}.")


def _wants(watching: list[Watch], info: ObjectInfo) -> bool:
    """Whether a trigger takes this object into the index."""
    return any(
        watch.trigger.bucket == info.bucket and "created" in watch.trigger.events and watch.wants(info.key)
        for watch in watching
    )


def _number(document: str) -> int:
    """Half of a document's name: enough to tell a billion of them apart."""
    return int(document[-12:] + document[:4], 16)
