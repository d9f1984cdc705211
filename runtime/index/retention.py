"""Removing what no kept version needs. Never the current version, nor the batches that it could be rebuilt from.

What is to go is decided first, without holding anybody up. It is removed under the builders' lease and that of
rollbacks, for a moment at a time. Builds and compactions that publish meanwhile change nothing of it: what a version
did not need, those that are built upon it do not need either. After anything else, as a rollback, it is decided anew.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import redis

from runtime.context import Store
from runtime.errors import CorruptSegment, ObjectMissing
from runtime.index import layout, manifest
from runtime.index.cache import SegmentCache
from runtime.index.lease import BuildLease, RemovalLease
from runtime.index.manifest import Manifest
from runtime.index.migration_state import RUNNING, MigrationState
from runtime.index.unneeded import Moments, Removal, Unneeded, Used

GRACE_SECONDS = 3600.0
TURN_SECONDS = 2.0
"""So long a build waits for a cleanup."""

PATIENCE_SECONDS = 60.0
"""So long a cleanup waits for a build."""

ROUNDS = 5
KINDS = ("manifests", "segments", "tombstones", "batches", "half_batches")
log = logging.getLogger("tundish.index")


class _BusyError(Exception):
    """Somebody else has the lease, and keeps it."""


class Retention:
    """Cleans indexes of one store. `grace` (seconds) protects parts that no manifest names, or not yet, and versions
    that were current a moment ago. `clock` is the store's: what others wrote is judged by it."""

    def __init__(
        self,
        store: Store,
        client: redis.Redis,
        cache: SegmentCache,
        *,
        grace: float = GRACE_SECONDS,
        clock: Callable[[], float] = time.time,
        used: Used | None = None,
    ) -> None:
        self._used = used
        self._store, self._client, self._cache = store, client, cache
        self._grace, self._clock = grace, clock

    def cleanup(self, index: str, older_than: float) -> dict[str, int]:
        """Remove what was not needed in the last `older_than` seconds; counts by kind.

        Where builds or rollbacks are under way the rest is left for another time. Raises CorruptSegment where the
        current version cannot be read.
        """
        counts = Counter(dict.fromkeys(KINDS, 0))
        now = self._clock()
        moments = Moments(now, now - older_than, now - self._grace)
        with suppress(_BusyError):
            for _ in range(ROUNDS):
                current = manifest.newest(self._store, index)
                migrating = self._migrating(index, current)
                seen = Unneeded(self._store, self._cache, index, current, moments, migrating, self._used)
                plan = list(seen.removals())
                if self._remove(index, current, plan, counts):
                    return dict(counts)
        log.warning("index %s: a build or rollback is under way; the rest is cleaned up another time", index)
        return dict(counts)

    def _remove(self, index: str, current: Manifest | None, plan: list[Removal], counts: Counter[str]) -> bool:
        """Whether all of it is gone; not where another version was published since it was planned than one that was
        built upon `current`. Raises _BusyError."""
        plan.reverse()
        while plan:
            with (
                BuildLease(self._client, index, PATIENCE_SECONDS) as lease,
                RemovalLease(self._client, index, PATIENCE_SECONDS) as removal,
            ):
                if not (lease.held and removal.held):
                    raise _BusyError
                # A rollback in between would make what is being removed the current version.
                newest = manifest.newest(self._store, index, current)
                if newest != current and not self._built_upon(current, newest):
                    return False
                current = newest
                until = time.monotonic() + TURN_SECONDS
                while plan and lease.held and removal.held:
                    self._delete(plan.pop(), counts)
                    lease.renew()
                    removal.renew()
                    if time.monotonic() >= until:
                        break
        return True

    def _delete(self, removal: Removal, counts: Counter[str]) -> None:
        bucket = self._store.bucket
        if removal.seen is not None:
            with suppress(ObjectMissing):
                if self._store.head(bucket, removal.keys[0]).modified > removal.seen:
                    return
        if removal.unless:
            with suppress(ObjectMissing):
                self._store.head(bucket, removal.unless)
                return
        for key in removal.keys:
            self._store.delete(bucket, key)
        counts[removal.kind] += 1

    def _built_upon(self, before: Manifest | None, newest: Manifest | None) -> bool:
        """Whether every version since `before` was made by a build or a compaction, of the one before it."""
        if before is None or newest is None:
            return False
        try:
            for generation in range(before.generation + 1, newest.generation):
                version = manifest.read(self._store, newest.index, generation)
                if not _successive(before, version):
                    return False
                before = version
        except (ObjectMissing, CorruptSegment):
            return False
        return _successive(before, newest)

    def _migrating(self, index: str, current: Manifest | None) -> str | None:
        """Whose batches a migration is writing."""
        status = MigrationState(self._client, index).read()
        if current is None or status is None or status.state != RUNNING or not status.identity:
            return None
        return layout.shadow(index, status.identity)


def _successive(before: Manifest, version: Manifest) -> bool:
    """What is built anew has none of the segments before, and may lack a document; a rollback restores a version."""
    if before.remote or version.remote:
        same = bool(before.remote and version.remote and before.remote.collection == version.remote.collection)
        return version.previous == before.sha256 and version.restores is None and same
    kept = {ref.segment for ref in before.segments} & {ref.segment for ref in version.segments}
    return (
        version.previous == before.sha256
        and version.restores is None
        and version.model == before.model
        and (bool(kept) or not before.segments)
    )
