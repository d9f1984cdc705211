"""Removing from Qdrant what nobody goes back to: collections that nothing names, and points that no kept version sees.

Only collections that this system has made are looked at (ledger.py), and of these only what is older than a grace: a
build may be filling one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from qdrant_client import models

from runtime.context import Store
from runtime.errors import ObjectMissing
from runtime.index import manifest
from runtime.index.included import Batch as Named
from runtime.index.manifest import Manifest
from runtime.index.qdrant import ledger, moving
from runtime.index.qdrant.collection import Collection, alias_of, forget, switch
from runtime.index.qdrant.conditions import equal, within
from runtime.index.qdrant.connection import Connection
from runtime.index.remote import Remote, Span

GRACE_SECONDS = 3600.0
ABANDONED_SECONDS = 7 * 86_400.0
"""A migration that nobody has gone on with for so long begins anew."""


def clean(store: Store, connection: Connection, index: str, now: float) -> dict[str, int]:
    """Remove what no kept version needs; counts by kind. Raises EngineDown, and CorruptSegment where a kept version
    cannot be read: then nobody knows what it needs."""
    # In this order: what arrives meanwhile is a version's.
    needed = moving.collections(store, index, now - ABANDONED_SECONDS)
    kept = list(kept_views(store, index))
    needed |= {one.collection for one in kept}
    listed = list(ledger.listed(store, index))
    if named := _named(store, connection, index, {made.collection for made in listed} - needed):
        needed.add(named)
    counts = {"collections": 0, "points": 0}
    for made in listed:
        if made.collection in needed or made.modified > now - GRACE_SECONDS:
            continue
        counts["collections"] += Collection(connection, made.collection).drop()
        ledger.forget(store, index, made.collection)
    for name in sorted({one.collection for one in kept}):
        counts["points"] += _thin(Collection(connection, name), [one for one in kept if one.collection == name])
    return counts


def _named(store: Store, connection: Connection, index: str, unneeded: set[str]) -> str | None:
    """The collection that the alias names. It is that of the newest version, even if who published it died before he
    could say so; after a move to FAISS it is none of ours, once no kept version is in one."""
    alias, current = ledger.alias(index), manifest.newest(store, index)
    if current and current.remote:
        with suppress(ObjectMissing):  # somebody removed it in Qdrant; `verify` says so
            switch(connection, alias, current.remote.collection)
            return current.remote.collection
    named = alias_of(connection, alias)
    if current and not current.remote and named in unneeded:
        forget(connection, alias)
        return None
    return named


def kept_views(store: Store, index: str) -> Iterator[Remote]:
    """What the stored versions of an index see in Qdrant, and what builds go on from."""
    for generation, _ in list(manifest.listed(store, index)):
        with suppress(ObjectMissing):  # another cleanup was faster
            version = manifest.read(store, index, generation)
            yield from (one for one in (version.remote, version.ahead) if one)


def _thin(collection: Collection, views: list[Remote]) -> int:
    """Remove points that died before the oldest view, and those of attempts that no view counts."""
    oldest = min(one.epoch for one in views)
    removed = 0
    for which in _dead(views, oldest):
        with suppress(ObjectMissing):  # it went with somebody who removed it in Qdrant; a build says so
            count = collection.count(which)
            if count:
                collection.remove(which)
                removed += count
    return removed


def _dead(views: list[Remote], oldest: int) -> Iterator[models.Filter]:
    chunk = equal("kind", "chunk")
    gaps = sorted({gap for one in views for gap in one.gaps})
    ended = [within("died", *gap) for gap in gaps]  # a death that some view does not count is none
    yield models.Filter(must=[chunk, within("died", None, oldest)], must_not=ended or None)
    for gap in gaps:
        if all(_outside(one, gap) for one in views):
            yield models.Filter(must=[chunk, within("born", *gap)])


def _outside(view: Remote, gap: Span) -> bool:
    """Whether a view counts no epoch of a gap."""
    return gap in view.gaps or view.epoch < gap[0]


def used(connection: Connection, version: Manifest) -> tuple[set[Named], set[Named]]:
    """The batches that a version has read, and those that hold the newest version of a document, be it that it is
    gone. Nothing is known of a version whose points a rollback has left behind. Raises EngineDown."""
    read: dict[str, str] = {}
    needed = set[str]()
    if version.remote is None or version.ahead:
        return set(), set()
    collection = Collection(connection, version.remote.collection)
    for page in collection.scroll(models.Filter(must=[equal("kind", "batch")]), ("batch", "etag", "epoch")):
        for payload in (one.payload or {} for one in page):
            if version.remote.has(payload["epoch"]):
                read[payload["batch"]] = payload["etag"]
    for page in collection.scroll(models.Filter(must=[equal("kind", "document")]), ("batch",)):
        needed |= {str((one.payload or {})["batch"]) for one in page}
    return set(read.items()), {(name, etag) for name, etag in read.items() if name in needed}
