"""What one version of an index holds: every searchable document with its etag and its chunks, in one table.

The table keeps 39 bytes a document, whatever the names and texts are; those stay in the mapped segments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b

import msgpack
import numpy as np
from numpy.typing import NDArray

from runtime.errors import CorruptSegment, ObjectMissing
from runtime.index.cache import SegmentCache
from runtime.index.docs import PUT, Docs, Positions, find, identity, table, winners
from runtime.index.included import Batch, Included, of_segment
from runtime.index.manifest import Manifest, SegmentRef
from runtime.index.segment import ROW_FIELDS, Segment

# h1, h2: docs.identity; etag: a hash; chunks: its searchable rows; first: its first row in the segment `part`;
# batch: a place in what that segment includes
HELD = np.dtype(
    [
        ("h1", "<u8"),
        ("h2", "<u8"),
        ("etag", "<u8"),
        ("chunks", "<u4"),
        ("first", "<u4"),
        ("part", "<u2"),
        ("text", "?"),
        ("batch", "<u4"),
    ]
)
Tell = Callable[[int, int], None]
_BUCKET, _KEY, _ETAG = (ROW_FIELDS.index(name) for name in ("bucket", "key", "etag"))


@dataclass(frozen=True, slots=True)
class Name:
    """A document by name. `bucket` is empty for a text that came in a call and is no object."""

    bucket: str
    key: str
    etag: str


@dataclass(slots=True)
class Contents:
    """`held` is sorted by the hash of the names. `stale` are (part, row) of older versions that are still found.

    `included` are the batches that each segment was made of, `damage` says what could not be read.
    """

    held: Docs = field(default_factory=lambda: np.empty(0, HELD))
    parts: list[Segment] = field(default_factory=list)
    included: list[Included] = field(default_factory=list)
    buckets: set[str] = field(default_factory=set)
    stale: list[tuple[int, int]] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)

    def find(self, names: list[tuple[str, str]]) -> Positions:
        """Where in `held` each (bucket, key) is, or -1."""
        return find(self.held, table([(*identity(bucket, key), 0, 0, 0, 0, 0, 0) for bucket, key in names]))

    def name(self, position: int) -> Name:
        record = self.held[position]
        return name_at(self.parts[int(record["part"])], int(record["first"]))

    def by_batch(self) -> Iterator[tuple[str, Positions]]:
        """Every batch that holds a searchable document, with the places of these in `held`."""
        starts = np.cumsum([0, *map(len, self.included)])
        numbers = starts[self.held["part"]] + self.held["batch"]
        order = np.argsort(numbers, kind="stable").astype(np.int64)
        numbers = numbers[order]
        borders = np.flatnonzero(numbers[1:] != numbers[:-1]) + 1
        for group in np.split(order, borders) if len(order) else ():
            first = self.held[group[0]]
            yield self.included[int(first["part"])][int(first["batch"])][0], group

    def read(self, batches: list[Batch]) -> NDArray[np.bool_]:
        """Elementwise: was any segment made of this batch, with this etag?"""
        found = np.zeros(len(batches), bool)
        for included in self.included:
            found |= included.holds(batches)
        return found


def etag_hash(etag: str) -> int:
    return int.from_bytes(blake2b(etag.encode(), digest_size=8).digest(), "little")


def name_at(segment: Segment, row: int) -> Name:
    values = msgpack.unpackb(segment.row(row))
    return Name(values[_BUCKET], values[_KEY], values[_ETAG])


def read(cache: SegmentCache, version: Manifest, tell: Tell = lambda *_: None) -> Contents:
    """Fetch, check and read every part of a version; `tell` hears of (documents read, documents in all).

    A part that is gone or damaged is named in `damage`; the documents of the other parts are there.
    """
    contents = Contents()
    docs: list[Docs] = []
    alive: list[NDArray[np.uint32]] = []
    for ref in version.segments:
        try:
            segment, rows = _open(cache, version.index, ref, contents.damage)
        except (CorruptSegment, ObjectMissing) as error:
            contents.damage.append(str(error))
            continue
        mine = np.array(segment.docs)
        mine["reserved"] = len(contents.parts)  # nothing else is kept there: which part a document is from
        contents.included.append(of_segment(cache, version.index, ref.segment))
        contents.parts.append(segment)
        docs.append(mine)
        alive.append(rows)
    if docs:
        joined = np.concatenate(docs)
        docs.clear()  # a copy of the tables is enough
        _settle(contents, joined, np.concatenate(alive), tell)
    return contents


def _open(cache: SegmentCache, index: str, ref: SegmentRef, damage: list[str]) -> tuple[Segment, NDArray[np.uint32]]:
    """A segment, and how many rows of each of its documents are searchable in this version."""
    segment = cache.open(index, ref.segment)
    docs, name = segment.docs, f"Segment {ref.segment[:12]}"
    if len(segment) != ref.vectors:
        raise CorruptSegment(f"{name} holds {len(segment)} rows; the manifest says {ref.vectors}.")
    alive = np.array(docs["count"])
    if ref.tombstones:
        bits = cache.tombstones(index, ref.tombstones, ref.vectors)
        live = 1 - np.unpackbits(bits, count=ref.vectors, bitorder="little").astype(np.int64)
        before = np.concatenate([[0], np.cumsum(live)])
        first = docs["first"].astype(np.int64)
        last = np.minimum(first + docs["count"], ref.vectors)  # a delete has no row, not even a first one
        alive = (before[last] - before[np.minimum(first, ref.vectors)]).astype(np.uint32)
    counted = {
        "searchable rows": (int(alive.sum(dtype=np.int64)), ref.live),
        "documents": (int((alive[docs["op"] == PUT] > 0).sum()), ref.documents),
        "bytes": (segment.meta.bytes, ref.bytes),
    }
    damage += [
        f"{name} has {found} {what}; the manifest says {told}."
        for what, (found, told) in counted.items()
        if found != told
    ]
    return segment, alive


def _settle(contents: Contents, docs: Docs, alive: NDArray[np.uint32], tell: Tell) -> None:
    """Who is held, and who is found although a newer version is known."""
    found = (docs["op"] == PUT) & (alive > 0)
    newest = winners(docs)  # in the order of the hashes
    chosen = newest[found[newest]]
    held = np.zeros(len(chosen), HELD)
    for name, column in (("part", "reserved"), *((name, name) for name in ("h1", "h2", "first", "batch"))):
        held[name] = docs[column][chosen]
    held["chunks"] = alive[chosen]
    found[newest] = False
    contents.stale = list(zip(docs["reserved"][found].tolist(), docs["first"][found].tolist(), strict=True))
    contents.held = held
    _names(contents, tell)


def _names(contents: Contents, tell: Tell) -> None:
    """Read what the rows say of every document; a row that is another document's is damage."""
    held = contents.held
    for place in range(len(held)):
        name = contents.name(place)
        if identity(name.bucket, name.key) != (int(held["h1"][place]), int(held["h2"][place])):
            sha = contents.parts[int(held["part"][place])].sha[:12]
            contents.damage.append(f"Segment {sha} gives rows of {name.bucket}/{name.key} to another document.")
        held["etag"][place], held["text"][place] = etag_hash(name.etag), not name.bucket
        if name.bucket:
            contents.buckets.add(name.bucket)
        if place % 1000 == 0:
            tell(place, len(held))
