"""The first look at the vectors of a version that was published without one: every one is read and its hash checked.

It goes on beside the announcement. What belongs to it is then on this host, for gateways here and for compaction.
Where it did not come to its end, since the builder was killed or the store went away, the next build here goes on.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import faiss

from runtime.errors import CorruptSegment, TundishError
from runtime.index import segment_write, whole
from runtime.index.attribute_terms import Collector
from runtime.index.cache import SegmentCache
from runtime.index.fetch import alone
from runtime.index.manifest import Manifest, SegmentRef
from runtime.index.segment import TABLE

_MARK = ".not-looked-at"
log = logging.getLogger("tundish.index")


def owe(folder: Path) -> None:
    """Say of a segment that nobody has looked at its vectors."""
    (folder / _MARK).touch()


def finish(cache: SegmentCache, version: Manifest) -> None:
    """Look at what was published here and not looked at, unless somebody is at it. Raises CorruptSegment."""
    for ref in version.segments:
        folder = cache.place(version.index, ref.segment)
        if not (folder / _MARK).exists():
            continue
        with suppress(FileNotFoundError), alone(folder, wait=False) as free:  # nobody needs what is trimmed
            if free:
                _tried(cache, version.index, ref)


class Opening:
    """Begun at once, in a thread of its own. When it is made it holds the segment's folder, or somebody else does:
    gateways of this host, who hear of the segment afterwards, wait instead of doing the same."""

    def __init__(self, cache: SegmentCache, index: str, ref: SegmentRef, attributes: Collector) -> None:
        """`attributes`: what was collected of the segment's rows."""
        self._cache, self._index, self._ref, self._attributes = cache, index, ref, attributes
        self._pool, self._held = ThreadPoolExecutor(1, thread_name_prefix="opening"), threading.Event()
        self._done = self._pool.submit(self._open)
        self._held.wait()

    def end(self) -> None:
        """Wait for it. Raises CorruptSegment where something is not what it should be.

        What else goes wrong is no failure of the build: the version is published, and readers try again.
        """
        try:
            self._done.result()
        finally:
            self._pool.shutdown()

    def _open(self) -> None:
        with ExitStack() as stack:
            try:
                with suppress(FileNotFoundError):  # the look itself says so
                    stack.enter_context(alone(self._cache.place(self._index, self._ref.segment), wait=False))
            finally:
                self._held.set()
            _tried(self._cache, self._index, self._ref, self._attributes)


def _tried(cache: SegmentCache, index: str, ref: SegmentRef, attributes: Collector | None = None) -> None:
    try:
        _look(cache, index, ref, attributes)
    except CorruptSegment:
        raise
    except (TundishError, OSError) as error:
        log.warning("Index %s: what was published could not be opened here yet: %s", index, error)


def _look(cache: SegmentCache, index: str, ref: SegmentRef, attributes: Collector | None) -> None:
    faiss.omp_set_num_threads(1)  # of this thread
    name = ref.segment
    meta = cache.meta(index, name)
    folder = cache.folder(index, name, (TABLE,))
    with alone(folder):
        if attributes:
            whole.write_attributes(folder, meta, attributes)
        segment_write.verify(cache.folder(index, name), name, meta, ref.vectors)
        (folder / _MARK).unlink(missing_ok=True)
