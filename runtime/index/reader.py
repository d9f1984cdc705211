"""Searching: the newest version is fetched, checked, warmed, then swapped in as one reference.

A query takes that reference once and finishes on the version it began with, whatever is swapped meanwhile.
"""

from __future__ import annotations

import heapq
import logging
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from runtime.context import IndexVersion, Store
from runtime.errors import BadInput
from runtime.index import layout, manifest
from runtime.index.cache import SegmentCache
from runtime.index.docs import Vectors, find, identity, table
from runtime.index.held import Held
from runtime.index.manifest import Manifest, SegmentRef
from runtime.index.segment import Segment

MAX_K = 10_000
log = logging.getLogger("tundish.index")


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that was found. `score` is the cosine; `start` and `end` are offsets in the document's text."""

    bucket: str
    key: str
    score: float
    text: str
    chunk: int
    start: int
    end: int
    etag: str
    meta: dict[str, Any]


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The hits, best first, and the version they are from. An index that does not exist has generation 0."""

    version: str = ""
    generation: int = 0
    hits: list[Hit] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A version in memory."""

    manifest: Manifest
    described: IndexVersion
    parts: tuple[Live, ...]


class Live:
    """A segment with the tombstones of one version."""

    def __init__(self, ref: SegmentRef, segment: Segment, dead: NDArray[np.uint8] | None) -> None:
        self.ref, self.segment = ref, segment
        self._selector: Any = None
        self._dead = dead
        if dead is not None:
            # FAISS keeps pointers into these, not references: they live as long as the selector.
            self._marked = faiss.IDSelectorBitmap(len(dead), faiss.swig_ptr(dead))
            self._selector = faiss.IDSelectorNot(self._marked)

    def is_dead(self, row: int) -> bool:
        return self._dead is not None and bool(self._dead[row >> 3] >> (row & 7) & 1)

    def search(self, query: Vectors, k: int) -> list[tuple[float, int]]:
        scores, rows = self.segment.search(query, min(k, self.ref.live), self._selector)
        return list(zip(scores.tolist(), rows.tolist(), strict=True))


class IndexReader:
    """Readers of every index of one store; shared by all threads of a process."""

    def __init__(self, store: Store, cache_dir: Path) -> None:
        self._store, self._cache = store, SegmentCache(cache_dir, store)
        self._loaded: dict[str, Loaded] = {}
        self._loading = threading.Lock()
        self._prepared = threading.local()

    def refresh(self, index: str) -> bool:
        """Load the newest version if it is newer than the one in use; says whether it was.

        Raises (CorruptSegment, StoreDown …) where that fails: the version in use stays.
        """
        layout.check_name(index)
        with self._loading:
            old = self._loaded.get(index)
            newest = manifest.newest(self._store, index, old.manifest if old else None)
            if newest is None or (old and newest.generation <= old.manifest.generation):
                return False
            try:
                loaded = self._load(index, newest, old)
            except Exception:
                kept = f"generation {old.manifest.generation} stays in use" if old else "there is none to fall back on"
                log.error("index %s: generation %d could not be loaded; %s", index, newest.generation, kept)
                raise
            self._loaded[index] = loaded
            names = {name for ref in newest.segments for name in (ref.segment, ref.tombstones) if name}
            self._cache.trim(index, names)
            return True

    def version(self, index: str) -> IndexVersion | None:
        """The version in use, or None."""
        loaded = self._loaded.get(index)
        return loaded.described if loaded else None

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
        """The `k` chunks nearest to a vector by cosine; fewer only where the index holds fewer.

        Raises BadInput for a vector that is not one of this index.
        """
        if not 1 <= k <= MAX_K:
            raise BadInput(f"k must be between 1 and {MAX_K}, not {k}.")
        loaded = self._loaded.get(index)
        if loaded is None:
            return SearchResult()
        described = loaded.described
        query = _query(vector, loaded.manifest)
        if not hasattr(self._prepared, "threads"):
            # Each calling thread would start an OpenMP pool of its own; concurrency comes from the callers.
            faiss.omp_set_num_threads(1)
            self._prepared.threads = 1
        found = (
            (score, part.segment, row) for part in loaded.parts if part.ref.live for score, row in part.search(query, k)
        )
        best = heapq.nlargest(k, found, key=lambda entry: entry[0])
        return SearchResult(
            described.version, described.generation, [_hit(segment, row, score) for score, segment, row in best]
        )

    def _load(self, index: str, newest: Manifest, old: Loaded | None) -> Loaded:
        opened = {part.ref.segment: part.segment for part in old.parts} if old else {}
        parts = []
        for ref in newest.segments:
            segment = opened.get(ref.segment) or self._cache.open(index, ref.segment)
            dead = self._cache.tombstones(index, ref.tombstones, ref.vectors) if ref.tombstones else None
            parts.append(Live(ref, segment, dead))
        return Loaded(newest, newest.described(), tuple(parts))


def _query(vector: Vectors, current: Manifest) -> Vectors:
    query = np.array(vector, np.float32).reshape(1, -1)
    if current.dimensions and query.shape[1] != current.dimensions:
        raise BadInput(
            f"The vector has {query.shape[1]} numbers; index {current.index!r} was made with {current.model} "
            f"and needs {current.dimensions}."
        )
    length = float(np.linalg.norm(query))
    if not np.isfinite(length) or length == 0:
        raise BadInput("The vector must hold finite numbers, and not only zeros.")
    normalised: Vectors = query / np.float32(length)
    return normalised


def _hit(segment: Segment, row: int, score: float) -> Hit:
    fields = segment.fields(row)
    return Hit(
        fields["bucket"],
        fields["key"],
        score,
        fields["text"],
        fields["chunk"],
        fields["start"],
        fields["end"],
        fields["etag"],
        fields["meta"],
    )
