"""Which version to answer from when the newest one cannot be read and none is in use yet."""

from __future__ import annotations

import logging

from runtime.context import Store
from runtime.errors import CorruptSegment, ObjectMissing
from runtime.index import manifest
from runtime.index.cache import SegmentCache
from runtime.index.manifest import Manifest

log = logging.getLogger("tundish.index")


def newest_whole(store: Store, cache: SegmentCache, index: str) -> Manifest | None:
    """The newest version whose manifest and parts can all be read, or None; its parts are in the cache afterwards.

    A part that is damaged is looked at once, however many versions it is in.
    """
    broken: set[str] = set()
    for generation in sorted((number for number, _ in manifest.listed(store, index)), reverse=True):
        try:
            version = manifest.read(store, index, generation)
        except (CorruptSegment, ObjectMissing) as error:
            log.warning("index %s: generation %d cannot be read: %s", index, generation, error)
            continue
        if _whole(cache, version, broken):
            return version
    return None


def _whole(cache: SegmentCache, version: Manifest, broken: set[str]) -> bool:
    if not broken.isdisjoint(version.parts):
        return False
    for ref in version.segments:
        name = ref.segment
        try:
            cache.open(version.index, name)
            if ref.tombstones:
                name = ref.tombstones
                cache.tombstones(version.index, name, ref.vectors)
        except (CorruptSegment, ObjectMissing) as error:
            log.warning("index %s: generation %d is not whole: %s", version.index, version.generation, error)
            broken.add(name)
            return False
    return True
