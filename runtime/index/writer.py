"""Building: new batches become one small segment and tombstones over the older ones; a manifest commits both.

Everything is uploaded before the manifest is created, so a build that dies leaves nothing that a reader sees. Nothing
large is read or written anew: what a publish costs is in proportion to what is new. Segments are merged by compaction
(compact.py), which goes on beside it.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from functools import partial

import faiss
import redis

from runtime.context import Store
from runtime.errors import CorruptSegment, PreconditionFailed, Retry
from runtime.index import batches, layout, manifest, plan
from runtime.index.attribute_terms import Collector
from runtime.index.cache import SegmentCache
from runtime.index.early import Early
from runtime.index.included import Included
from runtime.index.intake import Wanted
from runtime.index.lease import BuildLease
from runtime.index.listings import Listings, Result
from runtime.index.manifest import Manifest
from runtime.index.opening import Opening
from runtime.index.publication import Publication
from runtime.index.spool import Spool
from runtime.index.whole import NotWhole

ATTEMPTS = 20
PAUSE_SECONDS = 0.05
"""At most, by chance, between two attempts. All but the newest manifest is at hand for the next one."""

log = logging.getLogger("tundish.index")


class Builder:
    """Builds indexes of one store. Builders on several hosts may work at once: none loses another's work."""

    def __init__(
        self,
        store: Store,
        client: redis.Redis,
        cache: SegmentCache,
        *,
        tell: Callable[[Manifest, Manifest | None], object],
        merge: Callable[[str], object] = lambda index: None,
        hybrid: Callable[[str], bool] = lambda index: False,
    ) -> None:
        """`tell` announces a version, and is told the one before it. `merge` is called with an index that has so many
        segments that it cannot wait for compaction; `hybrid` says which indexes have words to search by."""
        self._store, self._client, self._cache, self._tell, self._merge = store, client, cache, tell, merge
        self._hybrid = hybrid
        self._newest: dict[str, Manifest] = {}
        self._listings = Listings()
        self._known: dict[str, dict[str, Included]] = {}

    def build(self, index: str, named: Sequence[str] = ()) -> Result:
        """Publish what is new. Returns the report and the manifest that is current afterwards.

        `named` batches are published first. What else there is takes a listing of all batches, which then follows
        only from time to time.
        """
        faiss.omp_set_num_threads(1)  # a pool of threads must not be started in a forked worker
        told = partial(self._publish, index, Wanted(named)) if named else None
        result = self._listings.build(index, told, lambda: self._publish(index, self._all(index)))
        if result[1] and len(result[1].segments) > plan.MOST_SEGMENTS:
            return self._merged(index) or result
        return result

    def _merged(self, index: str) -> Result | None:
        """Merge segments; what was published, if they were such that the index had to be built anew."""
        for last in (False, True):
            try:
                self._merge(index)
                break
            except CorruptSegment as error:  # of parts that builds do not read; a damaged copy is fetched again
                if last:
                    anew = f"{error} Index {index!r} is built anew from the stored batches."
                    log.warning("%s", anew)
                    return self.rebuild(index, anew)
        return None

    def take(self, index: str, named: Sequence[str]) -> Result:
        """Publish these batches, and look for no others."""
        faiss.omp_set_num_threads(1)
        result = self._publish(index, Wanted(named))
        if result[1] and len(result[1].segments) > plan.MOST_SEGMENTS:
            return self._merged(index) or result
        return result

    def rebuild(self, index: str, why: str) -> Result:
        """Publish a version that is built from the stored batches alone; `why` becomes a warning of the report."""
        faiss.omp_set_num_threads(1)
        return self._published(index, Wanted(), why)

    def _all(self, index: str) -> Wanted:
        """Listed before the lease is taken: it takes long where there are many, and nobody has to wait for it."""
        current = self._current(index)
        if current and current.held:
            return Wanted(listed={})
        return Wanted(listed=batches.listing(self._store, current.space if current else index))

    def _publish(self, index: str, wanted: Wanted) -> Result:
        try:
            return self._published(index, wanted)
        except CorruptSegment as error:
            # Retention keeps every batch that the current version needs, so nothing is lost.
            anew = f"{error} Index {index!r} is built anew from the stored batches."
            log.warning("%s", anew)
            return self._published(index, Wanted(), anew)

    def _published(self, index: str, wanted: Wanted, anew: str = "") -> Result:
        """Raises CorruptSegment where the version before cannot be built upon, and where this one cannot be opened."""
        with BuildLease(self._client, index) as lease:
            result, opening = self._committed(index, wanted, lease, anew)
        if opening:
            opening.end()
        return result

    def _committed(self, index: str, wanted: Wanted, lease: BuildLease, anew: str) -> tuple[Result, Opening | None]:
        left, glances = ATTEMPTS, not anew
        while left:
            ahead = partial(Early, self._store, index)
            with self._cache.workspace(index) as folder, Spool(folder, ahead, glances=glances) as spool:
                words = self._hybrid(layout.own(index))
                publication = Publication(self._store, self._cache, index, folder, spool, wanted, lease, anew, words)
                # What is built upon nothing must hold what was published meanwhile: it reads everything again.
                for _ in range(1 if anew else left):
                    left -= 1
                    current = self._current(index)
                    if current and current.restores is not None:  # what it lacks since a rollback nobody names
                        self._listings.soon(index)
                    try:
                        result = publication.attempt(current, self._known.setdefault(index, {}))
                        return self._told(result, current, publication.unwritten)
                    except NotWhole:
                        glances = False
                        break
                    except PreconditionFailed:
                        log.info("index %s: somebody else published first; once more on that version", index)
                        time.sleep(random.uniform(0, PAUSE_SECONDS))  # noqa: S311 - nothing to guess
                        lease.renew()
        raise Retry(f"Other builders of index {index!r} were faster {ATTEMPTS} times. Build it again.", after=1.0)

    def _told(
        self, result: Result, before: Manifest | None, unwritten: Collector | None
    ) -> tuple[Result, Opening | None]:
        report, current = result
        opening = None
        if report.published and current:
            self._newest[current.index] = current
            if unwritten:  # before gateways of this host hear of it: they find here what they need
                opening = Opening(self._cache, current.index, current.segments[-1], unwritten)
            self._tell(current, before)
            manifest.write_hint(self._store, current)
            if current.index == layout.own(current.index):  # a migration must not drop what the index answers from
                self._cache.trim(current.index, current.parts)
        return result, opening

    def _current(self, index: str) -> Manifest | None:
        current = manifest.newest(self._store, index, self._newest.get(index))
        if current:
            self._newest[index] = current
        return current
