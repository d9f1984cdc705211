"""From rows of a batch to points: their names, and what stands beside a vector.

Three kinds of points are in a collection. Chunks have a vector and are found. A document has one point without a vector
that knows its newest version: who writes an older one sees it there. A batch has one that says it was taken.
Names are made of what a point is (UUIDv5), so that doing something twice changes nothing; a chunk's has the sequence
number and the etag of its document's version in it, so that a newer version stands beside the older one until
nobody goes back to it any more, and an older one never takes a newer one's place.
"""

from __future__ import annotations

import math
import uuid
from hashlib import blake2b
from typing import Any

from pydantic_core import from_json, to_json

from runtime.context import Row
from runtime.index import terms
from runtime.index.docs import tie

VECTOR = "chunk"
"""The name of the vectors: points of a collection with named vectors need not have any."""

ALIVE = 2**53 - 1
"""`died` of what nothing newer took the place of. The largest whole number that every JSON reader keeps exact."""

_SPACE = uuid.UUID("5d1f7a52-6c2e-5a0e-9a44-2f6e1d6b8a31")


def chunk_id(index: str, row: Row) -> str:
    return _named("chunk", index, row.bucket, row.key, str(row.chunk), str(row.seq), row.etag)


def document_id(index: str, bucket: str, key: str) -> str:
    return _named("document", index, bucket, key)


def batch_id(index: str, batch: str) -> str:
    return _named("batch", index, batch)


def chunk(index: str, row: Row, epoch: int, batch: str, chunks: int) -> dict[str, Any]:
    """The payload of a chunk. `chunks`: how many its document has, said by the first of them, 0 by the others."""
    values, numbers = searchable(row.meta)
    payload: dict[str, Any] = {
        "kind": "chunk",
        "tenant": row.tenant,
        "bucket": row.bucket,
        "key": row.key,
        "document": document_id(index, row.bucket, row.key),
        "etag": row.etag,
        "seq": row.seq,
        "chunk": row.chunk,
        "start": row.start,
        "end": row.end,
        "text": row.text,
        "meta": from_json(to_json(row.meta, inf_nan_mode="null")),
        "batch": batch,
        "born": epoch,
        "died": ALIVE,
    }
    if chunks:
        payload["chunks"] = chunks
    if values:
        payload["terms"] = values
    if numbers:
        payload["numbers"] = numbers
    if not math.isnan(when := terms.modified(row.meta.get("modified"))):
        payload["modified"] = when
    return payload


def document(row: Row, epoch: int, batch: str, chunks: int) -> dict[str, Any]:
    """The payload of a document's point: its newest version, a delete as well."""
    return {
        "kind": "document",
        "bucket": row.bucket,
        "key": row.key,
        "etag": row.etag,
        "seq": row.seq,
        "tie": tie(row.op, row.etag),
        "chunks": chunks,
        "batch": batch,
        "epoch": epoch,
    }


def batch(name: str, etag: str, epoch: int) -> dict[str, Any]:
    """The payload of a batch's point."""
    return {"kind": "batch", "batch": name, "etag": etag, "epoch": epoch}


def searchable(meta: dict[str, Any]) -> tuple[list[str], list[dict[str, Any]]]:
    """What filters ask of a row's meta: words that are equal to something, and numbers by name."""
    words: dict[str, None] = {}
    numbers: list[dict[str, Any]] = []
    for term in terms.of_row(meta):
        words[word(term)] = None
        if term[:1] == terms.TYPE:
            words[word(family(term))] = None
        elif known := terms.numbered(term):
            numbers.append({"name": known[0], "value": known[1]})
    return list(words), numbers


def word(term: bytes) -> str:
    """A term as something that Qdrant keeps in an index of words, however long it is."""
    return blake2b(term, digest_size=16).hexdigest()


def family(term: bytes) -> bytes:
    """The term of all media types of a kind: that of text/plain becomes that of text/*."""
    return term.partition(b"/")[0] + b"/*"


def _named(*parts: str) -> str:
    return str(uuid.uuid5(_SPACE, "\0".join(parts)))
