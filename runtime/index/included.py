"""The batches that a segment was made of, in a file that is mapped: an index may have read millions of them.

Each entry is `{batch id} {etag of its commit}`, sorted; `batch` in the table of documents is a place in this list.
Segments that were written without the file name their batches in `meta.json`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import NDArray

from runtime.errors import CorruptSegment
from runtime.index import npy

if TYPE_CHECKING:
    from runtime.index.cache import SegmentCache

BATCHES = "batches.npy"
Batch = tuple[str, str]
Names = NDArray[np.bytes_]


class Included(Sequence[Batch]):
    """(id, etag) by place."""

    def __init__(self, names: Names, *, ordered: bool = True) -> None:
        self.names = names
        self._order = None if ordered else np.argsort(names)

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, place: int) -> Batch: ...

    @overload
    def __getitem__(self, place: slice) -> list[Batch]: ...

    def __getitem__(self, place: int | slice) -> Batch | list[Batch]:
        if isinstance(place, slice):
            return [_split(name) for name in self.names[place].tolist()]
        return _split(bytes(self.names[place]))

    def __iter__(self) -> Iterator[Batch]:
        return map(_split, self.names.tolist())

    def holds(self, batches: Sequence[Batch]) -> NDArray[np.bool_]:
        """Elementwise: is this batch, with this etag, one of them?"""
        wanted = packed(batches)
        found = np.zeros(len(wanted), bool)
        if not len(self.names):
            return found
        # Of one type, or NumPy would copy the whole list; a longer name is not in it.
        short = np.flatnonzero(np.char.str_len(wanted) <= self.names.dtype.itemsize)
        wanted = wanted[short].astype(self.names.dtype)
        at = self._at(wanted)
        found[short] = (at < len(self.names)) & (self._name(at) == wanted)
        return found

    def has(self, batch_id: str) -> bool:
        """Whether a batch of this id is one of them, whatever its etag."""
        prefix = f"{batch_id} ".encode()
        if not len(self.names) or len(prefix) > self.names.dtype.itemsize:
            return False
        at = self._at(np.array([prefix], self.names.dtype))
        return bool(at[0] < len(self.names)) and bytes(self._name(at)[0]).startswith(prefix)

    def _at(self, wanted: Names) -> NDArray[np.int64]:
        return np.searchsorted(self.names, wanted, sorter=self._order).astype(np.int64)

    def _name(self, at: NDArray[np.int64]) -> Names:
        at = np.minimum(at, len(self.names) - 1)
        found: Names = self.names[at if self._order is None else self._order[at]]
        return found


def packed(batches: Sequence[Batch]) -> Names:
    """Entries as they are stored, in the order of `batches`."""
    return np.array([f"{batch_id} {etag}".encode() for batch_id, etag in batches], np.bytes_)


def write(folder: Path, names: Names) -> NDArray[np.int64]:
    """Write the file; returns at which place of it each of `names` is."""
    order = np.argsort(names, kind="stable")
    names = np.ascontiguousarray(names[order])
    width = names.dtype.itemsize
    np.save(folder / BATCHES, names.view(np.uint8).reshape(len(names), width), allow_pickle=False)
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    return places


def of_segment(cache: SegmentCache, index: str, sha: str) -> Included:
    """The batches of a segment of the cache. Raises CorruptSegment."""
    meta = cache.meta(index, sha)
    if BATCHES not in meta.files:  # an earlier release wrote them in no order
        return Included(packed(meta.batches), ordered=False)
    try:
        stored = npy.mapped(cache.folder(index, sha, (BATCHES,)) / BATCHES, np.dtype(np.uint8))
    except ValueError as error:
        raise CorruptSegment(f"Segment {sha[:12]}: {BATCHES} cannot be read: {error}.") from error
    return Included(stored.view(f"S{stored.shape[1]}").reshape(-1))


def _split(name: bytes) -> Batch:
    batch_id, _, etag = name.decode().rpartition(" ")
    return batch_id, etag
