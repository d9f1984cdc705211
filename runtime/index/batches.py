"""Batches: what `embed_batch` writes and a build reads.

`vectors.npy` first, then `rows.msgpack`, which is the commit: without it a batch does not exist. Rows name the
hash of the vectors they belong to. Both are written once; a batch that turns out to be damaged may be written again.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from operator import attrgetter
from typing import NamedTuple

import numpy as np

from runtime.context import Row, Store
from runtime.errors import BadInput, CorruptBatch, ObjectMissing, PreconditionFailed
from runtime.index import layout, npy
from runtime.index.batch_commit import Commit, decode, encode
from runtime.index.docs import Vectors
from runtime.index.packed import FIELDS, Packed, flaw_of, pack
from runtime.index.vector_file import npy_header

_fields = attrgetter(*FIELDS)
_ROUNDING = 1e-2  # of a number of a unit vector, between machines
_LENGTH_TOLERANCE = 1e-2  # of a unit vector; float32 and bf16 models stay well inside


@dataclass(frozen=True, slots=True)
class Batch:
    """A committed batch. `vectors[i]` belongs to the i-th row that puts something; `etag` is that of its commit."""

    id: str
    etag: str
    model: str
    packed: Packed
    vectors: Vectors
    made: str = ""
    """By what its rows were cut from their documents."""
    backends: tuple[str, ...] = ()
    """Which back ends of the model have made its vectors, where that is known."""
    digest: str = ""
    """The sha256 of the object of its vectors, where these are stored as they are here; else nothing."""
    rows_stored: bool = True
    """Whether its commit has the rows as they are here; earlier releases wrote them otherwise."""

    @property
    def rows(self) -> list[Row]:
        return [Row(*values) for values in self.packed.values()]

    @property
    def dimensions(self) -> int:
        """0 for a batch that only deletes."""
        return int(self.vectors.shape[1]) if len(self.vectors) else 0


class Written(NamedTuple):
    """The object of a batch's vectors as it is stored: its sha256, and what the store calls it."""

    digest: str
    etag: str


class Origin(NamedTuple):
    """Where a batch's vectors come from: the model, the making of its rows, the back ends."""

    model: str
    made: str
    backends: Sequence[str]


@dataclass(slots=True)
class Listed:
    """What the listing says of one batch: etags (empty where the object is missing) and the newest change."""

    rows: str = ""
    vectors: str = ""
    modified: float = 0.0
    size: int = 0
    """Bytes of the vectors' object."""


def listing(store: Store, index: str) -> dict[str, Listed]:
    """Every batch of an index, halves included."""
    prefix = layout.batches(index)
    found: dict[str, Listed] = {}
    for item in store.list(store.bucket, prefix):
        batch_id, _, name = item.key[len(prefix) :].partition("/")
        if name not in (layout.ROWS, layout.VECTORS):
            continue
        entry = found.setdefault(batch_id, Listed())
        entry.modified = max(entry.modified, item.modified)
        if name == layout.ROWS:
            entry.rows = item.etag
        else:
            entry.vectors, entry.size = item.etag, item.size
    return found


def read(store: Store, index: str, batch_id: str) -> Batch:
    """Read and check a batch. Raises ObjectMissing where a part of it is gone, CorruptBatch where it is damaged."""
    path = layout.batch(index, batch_id)
    stored = store.get(store.bucket, path + layout.ROWS)
    commit = decode(path + layout.ROWS, stored.data)
    raw = store.get(store.bucket, path + layout.VECTORS).data
    if sha256(raw).hexdigest() != commit.vectors:
        raise CorruptBatch(f"{path}{layout.VECTORS} does not match the hash that {layout.ROWS} gives for it.")
    vectors = _vectors(path, raw)
    if len(vectors) != commit.puts():
        raise CorruptBatch(f"{path} holds {len(vectors)} vectors for {commit.puts()} rows.")
    if flaw := _flaw(vectors):
        raise CorruptBatch(f"{path}{layout.VECTORS} {flaw}.")
    packed, ordered = commit.packed(vectors)
    digest = commit.vectors if ordered is vectors and raw.startswith(_usual_header(vectors)) else ""
    facts = commit.made, commit.backends, digest, packed is commit.contents
    return Batch(batch_id, stored.etag, commit.model, packed, ordered, *facts)


def read_rows(store: Store, index: str, batch_id: str) -> list[Row]:
    """The rows of a committed batch without its vectors. Raises ObjectMissing and CorruptBatch."""
    return read_commit(store, index, batch_id).rows()


def read_commit(store: Store, index: str, batch_id: str) -> Commit:
    """The same, with what else the commit says."""
    path = layout.batch(index, batch_id) + layout.ROWS
    return decode(path, store.get(store.bucket, path).data)


def write(
    store: Store,
    index: str,
    batch_id: str,
    rows: list[Row],
    vectors: Vectors,
    model: str,
    made: str = "",
    backends: Sequence[str] = (),
) -> str:
    """Commit a batch once and return its path.

    The same documents with newer sequence numbers (content that came back after something else was there) are
    committed beside the first batch, as `{batch_id}-{seq}`.
    """
    origin = Origin(model, made, backends)
    vectors = np.ascontiguousarray(vectors, np.float32)
    _check_new(rows, vectors)
    packed, vectors = _packed(rows, vectors)
    newest = max((row.seq for row in rows), default=0)
    for name in (batch_id, f"{batch_id}-{newest}"):
        path = layout.batch(index, name)
        try:
            _create(store, path, packed, vectors, origin)
        except PreconditionFailed:  # something of it is there: a whole batch, or half of one
            stored = _taken(store, index, name, packed, vectors, origin)
        else:
            return path
        if stored is None or not _outdated(stored, rows):
            return path
    return path


def _taken(store: Store, index: str, name: str, packed: Packed, vectors: Vectors, origin: Origin) -> list[Row] | None:
    """The rows under a name that is in use; None where what is damaged or half there was completed with ours."""
    path = layout.batch(index, name)
    try:
        return read(store, index, name).rows
    except CorruptBatch:
        kept = _kept(store, path, packed)
        _commit(store, path, kept or packed, vectors, _replaced(store, path, vectors), origin, create_only=False)
        return [Row(*values) for values in kept.values()] if kept else None
    except ObjectMissing:
        try:
            _commit(store, path, packed, vectors, _adopted(store, path, vectors), origin, create_only=True)
        except PreconditionFailed:  # another worker did the same batch just now; see what it wrote
            return read(store, index, name).rows
    return None


def _outdated(stored: list[Row], rows: list[Row]) -> bool:
    known: dict[tuple[str, str], int] = {}
    for row in stored:
        known[row.bucket, row.key] = max(row.seq, known.get((row.bucket, row.key), -1))
    return any(row.seq > known.get((row.bucket, row.key), -1) for row in rows)


def _create(store: Store, path: str, packed: Packed, vectors: Vectors, origin: Origin) -> None:
    """Two PUTs, no look: a batch is new almost always. Raises PreconditionFailed where something is there."""
    etag = store.put(store.bucket, path + layout.VECTORS, raw := _raw(vectors), create_only=True)
    _commit(store, path, packed, vectors, _written(raw, etag), origin, create_only=True)


def _written(raw: bytes, etag: str) -> Written:
    return Written(sha256(raw).hexdigest(), etag)


def _raw(vectors: Vectors) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, vectors, allow_pickle=False)
    return buffer.getvalue()


def _packed(rows: list[Row], vectors: Vectors) -> tuple[Packed, Vectors]:
    values = [list(_fields(row)) for row in rows]
    if flaw := flaw_of(values):
        raise BadInput(f"The batch {flaw}.")
    try:
        return pack(values, vectors)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadInput(f"The rows of a batch cannot be stored: {error}. Keep plain data in `meta`.") from error


def _commit(
    store: Store, path: str, packed: Packed, vectors: Vectors, written: Written, origin: Origin, *, create_only: bool
) -> None:
    dimensions = int(vectors.shape[1]) if len(vectors) else 0
    data = encode(packed, origin.model, dimensions, written.digest, origin.made, origin.backends, written.etag)
    store.put(store.bucket, path + layout.ROWS, data, content_type="application/msgpack", create_only=create_only)


def _kept(store: Store, path: str, packed: Packed) -> Packed | None:
    """The stored rows, where only the vectors are damaged and the documents are ours but for their sequence numbers:
    segments may refer to them (whole.py)."""
    try:
        found = decode(path + layout.ROWS, store.get(store.bucket, path + layout.ROWS).data).contents
    except (CorruptBatch, ObjectMissing):
        return None
    names = ["h1", "h2", "first", "count", "tie", "op"]
    same = isinstance(found, Packed) and np.array_equal(found.docs[names], packed.docs[names])
    return found if isinstance(found, Packed) and same else None


def _replaced(store: Store, path: str, vectors: Vectors) -> Written:
    """The stored vectors where they are ours but for rounding: segments may refer to them (pieces.py). Else ours, put
    in their place."""
    try:
        found = store.get(store.bucket, path + layout.VECTORS)
        stored = _vectors(path, found.data)
        if stored.shape == vectors.shape and np.allclose(stored, vectors, rtol=0.0, atol=_ROUNDING):
            return _written(found.data, found.etag)
    except (CorruptBatch, ObjectMissing):
        pass
    etag = store.put(store.bucket, path + layout.VECTORS, raw := _raw(vectors))
    return _written(raw, etag)


def _adopted(store: Store, path: str, vectors: Vectors) -> Written:
    """The stored vectors where they fit our rows; else ours, put in their place.

    Vectors without a commit are of a worker that died, or is at it too: embeddings differ by rounding between
    machines, so what is there is as good as ours, and the commit must name what is there.
    """
    stored = store.get(store.bucket, path + layout.VECTORS)
    try:
        if _vectors(path, stored.data).shape == vectors.shape:
            return _written(stored.data, stored.etag)
    except CorruptBatch:
        pass
    etag = store.put(store.bucket, path + layout.VECTORS, raw := _raw(vectors), if_match=stored.etag)
    return _written(raw, etag)


def _vectors(path: str, raw: bytes) -> Vectors:
    try:
        vectors: Vectors = npy.read(raw, np.dtype(np.float32))
    except ValueError as error:
        raise CorruptBatch(f"{path}{layout.VECTORS} cannot be read: {error}.") from error
    if vectors.ndim != 2:
        raise CorruptBatch(f"{path}{layout.VECTORS} is not an array of two dimensions.")
    return vectors


def _usual_header(vectors: Vectors) -> bytes:
    return npy_header(int(vectors.shape[1]), len(vectors))


def _flaw(vectors: Vectors) -> str:
    """What is wrong with the numbers, or nothing."""
    if not len(vectors):
        return ""
    if not vectors.shape[1]:
        return "holds vectors without dimensions"
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    if not np.isfinite(lengths).all():  # a NaN or infinity anywhere shows in the length
        return f"holds a NaN or infinity in row {int(np.flatnonzero(~np.isfinite(lengths))[0])}"
    off = np.flatnonzero(np.abs(lengths - 1) > _LENGTH_TOLERANCE)
    if len(off):
        return f"holds a vector of length {lengths[off[0]]:.3f} in row {int(off[0])}; lengths must be 1"
    return ""


def _check_new(rows: list[Row], vectors: Vectors) -> None:
    puts = sum(row.op == "put" for row in rows)
    if vectors.ndim != 2 or len(vectors) != puts:
        raise BadInput(f"A batch needs one vector for each row to put: got shape {vectors.shape} for {puts} rows.")
    flaw = _flaw(vectors)
    if flaw:
        raise BadInput(f"The array of vectors {flaw}.")
