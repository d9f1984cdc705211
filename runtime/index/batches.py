"""Batches: what `embed_batch` writes and a build reads.

`vectors.npy` first, then `rows.msgpack`, which is the commit: without it a batch does not exist. Rows name the
hash of the vectors they belong to. Both are written once; a batch that turns out to be damaged may be written again.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, fields
from hashlib import sha256
from typing import Any

import msgpack
import numpy as np

from runtime.context import Row, Store
from runtime.errors import BadInput, CorruptBatch, ObjectMissing, PreconditionFailed
from runtime.index import layout, npy
from runtime.index.docs import Vectors

FIELDS = tuple(field.name for field in fields(Row))
_TYPES = (str, str, str, int, str, str, int, int, int, str, dict)
_LENGTH_TOLERANCE = 1e-2  # of a unit vector; float32 and bf16 models stay well inside


@dataclass(frozen=True, slots=True)
class Batch:
    """A committed batch. `vectors[i]` belongs to the i-th row whose op is `put`; `etag` is that of its commit."""

    id: str
    etag: str
    model: str
    rows: list[Row]
    vectors: Vectors

    @property
    def dimensions(self) -> int:
        """0 for a batch that only deletes."""
        return int(self.vectors.shape[1]) if len(self.vectors) else 0


@dataclass(slots=True)
class Listed:
    """What the listing says of one batch: etags (empty where the object is missing) and the newest change."""

    rows: str = ""
    vectors: str = ""
    modified: float = 0.0


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
            entry.vectors = item.etag
    return found


def read(store: Store, index: str, batch_id: str) -> Batch:
    """Read and check a batch. Raises ObjectMissing where a part of it is gone, CorruptBatch where it is damaged."""
    path = layout.batch(index, batch_id)
    commit = store.get(store.bucket, path + layout.ROWS)
    head, rows = _unpack(path, commit.data)
    raw = store.get(store.bucket, path + layout.VECTORS).data
    if sha256(raw).hexdigest() != head.get("vectors"):
        raise CorruptBatch(f"{path}{layout.VECTORS} does not match the hash that {layout.ROWS} gives for it.")
    vectors = _vectors(path, raw)
    puts = sum(row.op == "put" for row in rows)
    if len(vectors) != puts:
        raise CorruptBatch(f"{path} holds {len(vectors)} vectors for {puts} rows.")
    flaw = _flaw(vectors)
    if flaw:
        raise CorruptBatch(f"{path}{layout.VECTORS} {flaw}.")
    return Batch(batch_id, commit.etag, str(head.get("model", "")), rows, vectors)


def read_rows(store: Store, index: str, batch_id: str) -> list[Row]:
    """The rows of a committed batch without its vectors. Raises ObjectMissing and CorruptBatch."""
    path = layout.batch(index, batch_id)
    return _unpack(path, store.get(store.bucket, path + layout.ROWS).data)[1]


def write(store: Store, index: str, batch_id: str, rows: list[Row], vectors: Vectors, model: str) -> str:
    """Commit a batch once and return its path.

    The same documents with newer sequence numbers (content that came back after something else was there) are
    committed beside the first batch, as `{batch_id}-{seq}`.
    """
    vectors = np.ascontiguousarray(vectors, np.float32)
    _check_new(rows, vectors)
    newest = max((row.seq for row in rows), default=0)
    for name in (batch_id, f"{batch_id}-{newest}"):
        path = layout.batch(index, name)
        try:
            _create(store, path, rows, vectors, model)
        except PreconditionFailed:  # something of it is there: a whole batch, or half of one
            stored = _taken(store, index, name, rows, vectors, model)
        else:
            return path
        if not _outdated(stored, rows):
            return path
    return path


def _taken(store: Store, index: str, name: str, rows: list[Row], vectors: Vectors, model: str) -> list[Row]:
    """The rows under a name that is in use; what is damaged or half there is completed with ours."""
    path = layout.batch(index, name)
    try:
        return read(store, index, name).rows
    except CorruptBatch:
        store.put(store.bucket, path + layout.VECTORS, raw := _raw(vectors))
        _commit(store, path, rows, vectors, raw, model, create_only=False)
    except ObjectMissing:
        try:
            _commit(store, path, rows, vectors, _adopted(store, path, vectors), model, create_only=True)
        except PreconditionFailed:  # another worker did the same batch just now; see what it wrote
            return read(store, index, name).rows
    return rows


def _outdated(stored: list[Row], rows: list[Row]) -> bool:
    known: dict[tuple[str, str], int] = {}
    for row in stored:
        known[row.bucket, row.key] = max(row.seq, known.get((row.bucket, row.key), -1))
    return any(row.seq > known.get((row.bucket, row.key), -1) for row in rows)


def _create(store: Store, path: str, rows: list[Row], vectors: Vectors, model: str) -> None:
    """Two PUTs, no look: a batch is new almost always. Raises PreconditionFailed where something is there."""
    store.put(store.bucket, path + layout.VECTORS, raw := _raw(vectors), create_only=True)
    _commit(store, path, rows, vectors, raw, model, create_only=True)


def _raw(vectors: Vectors) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, vectors, allow_pickle=False)
    return buffer.getvalue()


def _commit(
    store: Store, path: str, rows: list[Row], vectors: Vectors, raw: bytes, model: str, *, create_only: bool
) -> None:
    head = {
        "format": 1,
        "model": model,
        "dimensions": int(vectors.shape[1]) if len(vectors) else 0,
        "vectors": sha256(raw).hexdigest(),
        "fields": FIELDS,
        "rows": [[getattr(row, name) for name in FIELDS] for row in rows],
    }
    try:
        packed = msgpack.packb(head)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadInput(f"The rows of {path} cannot be stored: {error}. Keep plain data in `meta`.") from error
    store.put(store.bucket, path + layout.ROWS, packed, content_type="application/msgpack", create_only=create_only)


def _adopted(store: Store, path: str, vectors: Vectors) -> bytes:
    """The stored vectors where they fit our rows; else ours, put in their place.

    Vectors without a commit are of a worker that died, or is at it too: embeddings differ by rounding between
    machines, so what is there is as good as ours, and the commit must name what is there.
    """
    stored = store.get(store.bucket, path + layout.VECTORS)
    try:
        if _vectors(path, stored.data).shape == vectors.shape:
            return stored.data
    except CorruptBatch:
        pass
    store.put(store.bucket, path + layout.VECTORS, raw := _raw(vectors), if_match=stored.etag)
    return raw


def _unpack(path: str, data: bytes) -> tuple[dict[str, Any], list[Row]]:
    name = path + layout.ROWS
    try:
        head = msgpack.unpackb(data)
    except (ValueError, msgpack.UnpackException) as error:
        raise CorruptBatch(f"{name} is not msgpack: {error or type(error).__name__}.") from error
    if not isinstance(head, dict) or head.get("format") != 1 or tuple(head.get("fields", ())) != FIELDS:
        raise CorruptBatch(f"{name} is not a batch of format 1.")
    rows = []
    for number, values in enumerate(head.get("rows", ())):
        good = isinstance(values, list) and len(values) == len(FIELDS)
        if not good or not all(isinstance(value, kind) for value, kind in zip(values, _TYPES, strict=True)):
            raise CorruptBatch(f"{name}: row {number} has fields of the wrong number or type.")
        row = Row(*values)
        if row.op not in ("put", "delete") or not 0 <= row.seq < 2**63:
            raise CorruptBatch(f"{name}: row {number} has op {row.op!r} and seq {row.seq}.")
        rows.append(row)
    return head, rows


def _vectors(path: str, raw: bytes) -> Vectors:
    try:
        vectors: Vectors = npy.read(raw, np.dtype(np.float32))
    except ValueError as error:
        raise CorruptBatch(f"{path}{layout.VECTORS} cannot be read: {error}.") from error
    if vectors.ndim != 2:
        raise CorruptBatch(f"{path}{layout.VECTORS} is not an array of two dimensions.")
    return vectors


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
