"""Removing what no kept version needs. Never the current version, nor the batches that it could be rebuilt from."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable

import numpy as np
import redis

from runtime.context import ObjectInfo, Store
from runtime.index import batches, layout, manifest
from runtime.index.cache import SegmentCache
from runtime.index.docs import winners
from runtime.index.lease import BuildLease
from runtime.index.manifest import Manifest
from runtime.index.segment import TABLE, load_docs

# A builder uploads before it commits, and a reader may be loading what was current until now.
GRACE_SECONDS = 3600.0
HALF_BATCH_SECONDS = 86_400.0


class Retention:
    """Cleans indexes of one store. `grace` (seconds) protects parts that no manifest names, or not yet."""

    def __init__(
        self,
        store: Store,
        client: redis.Redis,
        cache: SegmentCache,
        *,
        grace: float = GRACE_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._client, self._cache = store, client, cache
        self._grace, self._clock = grace, clock

    def cleanup(self, index: str, older_than: float) -> dict[str, int]:
        """Remove what is older than `older_than` seconds and not needed; counts by kind.

        Batches that hold the newest version of any document are kept, and so are those whose word is that a
        document is gone: an index that is rebuilt from what is left is the same index.
        """
        counts = Counter(manifests=0, segments=0, tombstones=0, batches=0, half_batches=0)
        limit = self._clock() - older_than
        with BuildLease(self._client, index) as lease:
            current = manifest.newest(self._store, index)
            kept = self._manifests(index, current, limit, counts)
            lease.renew()
            self._parts(index, kept, counts)
            lease.renew()
            self._batches(index, current, limit, counts)
        return dict(counts)

    def _manifests(self, index: str, current: Manifest | None, limit: float, counts: Counter[str]) -> list[Manifest]:
        kept = [current] if current else []
        for generation, item in list(manifest.listed(self._store, index)):
            # One above `current` was published a moment ago by a builder that did not wait for the lease.
            if current and generation == current.generation:
                continue
            if current and generation < current.generation and item.modified < limit:
                self._store.delete(self._store.bucket, item.key)
                counts["manifests"] += 1
            else:
                kept.append(manifest.read(self._store, index, generation))
        return kept

    def _parts(self, index: str, kept: list[Manifest], counts: Counter[str]) -> None:
        named = {name for version in kept for ref in version.segments for name in (ref.segment, ref.tombstones)}
        limit = self._clock() - self._grace
        for kind, prefix in (("segments", layout.segments(index)), ("tombstones", layout.tombstones(index))):
            for name, items in _grouped(prefix, self._store.list(self._store.bucket, prefix)).items():
                if name in named or max(item.modified for item in items) > limit:
                    continue
                for item in items:
                    self._store.delete(self._store.bucket, item.key)
                counts[kind] += 1

    def _batches(self, index: str, current: Manifest | None, limit: float, counts: Counter[str]) -> None:
        included, needed = self._used(index, current) if current else (set(), set())
        half_limit = min(limit, self._clock() - HALF_BATCH_SECONDS)
        for batch_id, found in batches.listing(self._store, index).items():
            path = layout.batch(index, batch_id)
            if not found.rows and found.modified < half_limit:
                self._store.delete(self._store.bucket, path + layout.VECTORS)
                counts["half_batches"] += 1
            elif found.modified < limit and (batch_id, found.rows) in included - needed:
                # The commit goes first: without it the batch does not exist.
                self._store.delete(self._store.bucket, path + layout.ROWS)
                self._store.delete(self._store.bucket, path + layout.VECTORS)
                counts["batches"] += 1

    def _used(self, index: str, current: Manifest) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
        """The batches (id, etag) that the current version has read, and those that hold a winner."""
        included: set[tuple[str, str]] = set()
        known: list[tuple[str, str]] = []
        tables, numbers = [], []
        for ref in current.segments:
            meta = self._cache.meta(index, ref.segment)
            docs = load_docs(self._cache.folder(index, ref.segment, (TABLE,)))
            tables.append(docs)
            numbers.append(docs["batch"].astype(np.int64) + len(known))
            known += meta.batches
            included.update(meta.batches)
        if not tables:
            return included, set()
        chosen = np.unique(np.concatenate(numbers)[winners(np.concatenate(tables))])
        return included, {known[number] for number in chosen}


def _grouped(prefix: str, items: Iterable[ObjectInfo]) -> dict[str, list[ObjectInfo]]:
    """Objects by the first segment of their name after the prefix."""
    groups: dict[str, list[ObjectInfo]] = {}
    for item in items:
        groups.setdefault(item.key[len(prefix) :].partition("/")[0], []).append(item)
    return groups
