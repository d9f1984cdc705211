"""The first look at the vectors of a version that was published without one: every one is read and its hash checked.

It goes on beside the announcement. What belongs to it is then on this host, for gateways here and for compaction.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor

from runtime.errors import CorruptSegment, TundishError
from runtime.index import segment_write, whole
from runtime.index.attribute_terms import Collector
from runtime.index.cache import SegmentCache
from runtime.index.fetch import alone
from runtime.index.manifest import SegmentRef
from runtime.index.segment import TABLE

log = logging.getLogger("tundish.index")


class Opening:
    """Begun at once, in a thread of its own."""

    def __init__(self, cache: SegmentCache, index: str, ref: SegmentRef, attributes: Collector) -> None:
        """`attributes`: what was collected of the segment's rows."""
        self._cache, self._index, self._ref, self._attributes = cache, index, ref, attributes
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="opening")
        self._done = self._pool.submit(self._open)

    def end(self) -> None:
        """Wait for it. Raises CorruptSegment where something is not what it should be.

        What else goes wrong is no failure of the build: the version is published, and readers try again.
        """
        try:
            self._done.result()
        except CorruptSegment:
            raise
        except TundishError as error:
            log.warning("Index %s: what was published could not be opened here yet: %s", self._index, error)
        finally:
            self._pool.shutdown()

    def _open(self) -> None:
        index, name = self._index, self._ref.segment
        meta = self._cache.meta(index, name)
        folder = self._cache.folder(index, name, (TABLE,))
        with alone(folder):  # gateways of this host, who hear of it now, wait here instead of doing the same
            whole.write_attributes(folder, meta, self._attributes)
            segment_write.verify(self._cache.folder(index, name), name, meta, self._ref.vectors)
