"""The versions that are searched: the newest is fetched, opened, warmed, then swapped in as one reference.

A query takes that reference once and finishes on the version it began with, whatever is swapped meanwhile.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import faiss

from runtime.context import IndexVersion, Store
from runtime.errors import BadInput, CorruptSegment, IndexUnavailable, ObjectMissing
from runtime.index import layout, manifest, search
from runtime.index.announcement import Announcement
from runtime.index.cache import SegmentCache
from runtime.index.docs import Vectors, find, identity, table
from runtime.index.fallback import newest_whole
from runtime.index.held import Held
from runtime.index.live import Live, Loaded
from runtime.index.manifest import Manifest, SegmentRef
from runtime.index.search import Search, SearchResult
from runtime.index.segment import Segment
from runtime.index.warm import read_ahead

WARM_SECONDS = 1.0
"""How long a version waits to be read into memory while another one answers; the rest is read behind."""

_LOCKS, _OPENING = 16, 4
log = logging.getLogger("tundish.index")


class IndexReader:
    """Readers of every index of one store; shared by all threads of a process."""

    def __init__(
        self, store: Store, cache_dir: Path, *, prepare: Callable[[str, str], object] = lambda index, model: None
    ) -> None:
        """`prepare` is called with an index and its new model before the first version of another model answers."""
        self._store, self._cache, self._prepare = store, SegmentCache(cache_dir, store), prepare
        self._loaded: dict[str, Loaded] = {}
        self._loading = tuple(threading.Lock() for _ in range(_LOCKS))
        self._prepared = threading.local()

    def refresh(self, index: str, announced: Announcement | None = None) -> bool:
        """Load the newest version if it is newer than the one in use; says whether it was.

        `announced`: a version that somebody says there is. It is looked for before anything is listed, in one trip to
        the store together with the parts that are said to be new.
        Raises (CorruptSegment, StoreDown …) where that fails: the version in use stays. Where there is none yet, the
        newest older version that is whole is loaded before CorruptSegment or ObjectMissing is raised.
        """
        layout.check_name(index)
        with self._loading[hash(index) % _LOCKS]:  # one index does not wait for the load of another
            old = self._loaded.get(index)
            try:
                newest = self._newest(index, old.manifest if old else None, announced)
                if newest is None or (old and newest.generation <= old.manifest.generation):
                    return False
                loaded = self._load(index, newest, old)
            except Exception as error:
                if old is None and isinstance(error, CorruptSegment | ObjectMissing):
                    old = self._fall_back(index)
                kept = f"generation {old.manifest.generation} answers" if old else "there is none to fall back on"
                log.error("index %s: the newest version could not be loaded; %s", index, kept)
                raise
            self._swap(index, loaded, old)
            self._cache.trim(index, newest.parts)
            return True

    def version(self, index: str) -> IndexVersion | None:
        """The version in use, or None."""
        loaded = self._loaded.get(index)
        return loaded.described if loaded else None

    def remote(self, index: str) -> Manifest | None:
        """The version in use where another engine holds it, which is to be asked then."""
        loaded = self._loaded.get(index)
        return loaded.manifest if loaded and loaded.manifest.remote else None

    def words(self, index: str) -> tuple[int, int]:
        """Of the version in use: how many segments have words to search by, and how many have rows at all."""
        loaded = self._loaded.get(index)
        filled = [part for part in loaded.parts if len(part.segment)] if loaded else []
        return sum(part.segment.lexical is not None for part in filled), len(filled)

    def document(self, index: str, bucket: str, key: str) -> Held | None:
        """A document as the version in use holds it; None where it has no rows there."""
        loaded = self._loaded.get(index)
        wanted = table([(*identity(bucket, key), 0, 0, 0, 0, 0, 0)])
        newest: tuple[int, Live, Any] | None = None
        for part in loaded.parts if loaded else ():
            at = int(find(part.segment.docs, wanted)[0])
            if at >= 0 and (newest is None or int(part.segment.docs[at]["seq"]) > newest[0]):
                newest = int(part.segment.docs[at]["seq"]), part, part.segment.docs[at]
        if newest is None or not newest[2]["count"]:
            return None
        seq, part, record = newest
        first = int(record["first"])
        rows = tuple(row for row in range(first, first + int(record["count"])) if not part.is_dead(row))
        return Held(seq, str(part.segment.fields(first)["etag"]), part.segment, rows)

    def search(self, index: str, vector: Vectors, k: int = 10) -> SearchResult:
        """The `k` chunks nearest to a vector by cosine. Raises BadInput for a vector that is not one of this index."""
        (found,) = self.search_many(index, [Search(vector, k)])
        if isinstance(found, BadInput):
            raise found
        return found

    def search_many(self, index: str, searches: Sequence[Search]) -> list[SearchResult | BadInput]:
        """The answers to several searches at once, in their order, all from one version."""
        if not hasattr(self._prepared, "threads"):
            # Each calling thread would start an OpenMP pool of its own; concurrency comes from the callers.
            faiss.omp_set_num_threads(1)
            self._prepared.threads = 1
        if self.remote(index):
            raise IndexUnavailable(f"Index {index} is not held in files: its engine has to be asked.")
        return search.run(self._loaded.get(index), searches)

    def _newest(self, index: str, known: Manifest | None, announced: Announcement | None) -> Manifest | None:
        if announced and announced.generation > (known.generation if known else 0):
            path = layout.manifest(index, announced.generation)
            (found,) = self._cache.bring(index, announced.segments, announced.tombstones, [path])
            if found and known:
                return manifest.stored(path, found)
            if found:  # there may be a newer one, and nothing answers yet that would be looked for again
                return manifest.newest(self._store, index, manifest.stored(path, found))
        return manifest.newest(self._store, index, known)

    def _fall_back(self, index: str) -> Loaded | None:
        """Answer from the newest version that is whole, if there is one."""
        whole = newest_whole(self._store, self._cache, index)
        if whole is None:
            return None
        self._swap(index, self._load(index, whole, None), None)
        return self._loaded[index]

    def _load(self, index: str, newest: Manifest, old: Loaded | None) -> Loaded:
        same = {part.ref: part for part in old.parts} if old else {}
        opened = {part.ref.segment: part.segment for part in old.parts} if old else {}
        new = [ref for ref in newest.segments if ref not in same]
        segments = [ref.segment for ref in new if ref.segment not in opened]
        self._cache.bring(index, segments, [ref.tombstones for ref in new if ref.tombstones])
        opened |= self._open(index, segments)
        parts = tuple(same.get(ref) or self._live(index, ref, opened[ref.segment]) for ref in newest.segments)
        return Loaded(newest, newest.described(), parts)

    def _open(self, index: str, names: Sequence[str]) -> dict[str, Segment]:
        if len(names) < 2:
            return {name: self._cache.open(index, name) for name in names}
        with ThreadPoolExecutor(min(_OPENING, len(names)), thread_name_prefix="open") as pool:
            return dict(zip(names, pool.map(partial(self._cache.open, index), names), strict=True))

    def _live(self, index: str, ref: SegmentRef, segment: Segment) -> Live:
        dead = self._cache.tombstones(index, ref.tombstones, ref.vectors) if ref.tombstones else None
        return Live(ref, segment, dead)

    def _swap(self, index: str, loaded: Loaded, old: Loaded | None) -> None:
        """Let queries use a version: warm if there is one that answers meanwhile, else at once."""
        known = old.manifest.parts if old else set()
        files = self._cache.files(index, [ref.segment for ref in loaded.manifest.segments if ref.segment not in known])
        cold = read_ahead(files, WARM_SECONDS if old else 0.0)
        if old and loaded.manifest.model not in ("", old.manifest.model):
            self._prepare(index, loaded.manifest.model)
        self._loaded[index] = loaded
        if cold:
            threading.Thread(target=read_ahead, args=(cold,), name="index-warm", daemon=True).start()
