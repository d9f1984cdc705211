"""`rows.msgpack`, the commit of a batch: the packed rows, and the hash of the vectors that they belong to.

Format 2 holds rows as segments do (packed.py). Format 1, of earlier releases, is a list of rows with all fields; it is
packed when it is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np

from runtime.context import Row
from runtime.errors import CorruptBatch
from runtime.index.docs import DOCS, Vectors
from runtime.index.packed import FIELDS, Packed, Values, flaw_of, pack

FORMAT = 2


@dataclass(frozen=True, slots=True)
class Commit:
    """What a commit says. `vectors` is the sha256 of the other object; `contents` are the rows, as they are stored.

    `made`: by what the rows were cut from their documents; empty where earlier releases did not say.
    """

    model: str
    vectors: str
    contents: Packed | list[Values]
    made: str = ""
    backends: tuple[str, ...] = ()
    """Which back ends of the model have made its vectors; empty where earlier releases did not say."""
    etag: str = ""
    """What the store called the object of the vectors when it was written; empty where earlier releases did not say."""
    dimensions: int = 0

    def rows(self) -> list[Row]:
        values = self.contents.values() if isinstance(self.contents, Packed) else self.contents
        return [Row(*one) for one in values]

    def puts(self) -> int:
        """How many vectors belong to it."""
        if isinstance(self.contents, Packed):
            return len(self.contents.lengths)
        return sum(row.op == "put" for row in self.rows())

    def packed(self, vectors: Vectors) -> tuple[Packed, Vectors]:
        """The rows packed, and the vectors in their order."""
        return (self.contents, vectors) if isinstance(self.contents, Packed) else pack(self.contents, vectors)


def encode(
    packed: Packed,
    model: str,
    dimensions: int,
    vectors: str,
    made: str = "",
    backends: Sequence[str] = (),
    etag: str = "",
) -> bytes:
    data: bytes = msgpack.packb(
        {
            "format": FORMAT,
            "model": model,
            "made": made,
            "backends": list(backends),
            "dimensions": dimensions,
            "vectors": vectors,
            "etag": etag,
            "fields": FIELDS,
            "rows": packed.rows,
            "lengths": packed.lengths.tobytes(),
            "docs": packed.docs.tobytes(),
            "gone": packed.gone,
            "attributes": packed.attributes,
            "digest": packed.digest(),
        }
    )
    return data


def decode(name: str, data: bytes) -> Commit:
    """Raises CorruptBatch for what is damaged; `name` is that of the object."""
    try:
        head = msgpack.unpackb(data)
    except (ValueError, msgpack.UnpackException) as error:
        raise CorruptBatch(f"{name} is not msgpack: {error or type(error).__name__}.") from error
    if not isinstance(head, dict) or head.get("format") not in (1, FORMAT) or tuple(head.get("fields", ())) != FIELDS:
        raise CorruptBatch(f"{name} is not a batch of a format that this release can read.")
    model, vectors = str(head.get("model", "")), str(head.get("vectors", ""))
    try:
        if head["format"] == 1:
            flaw = flaw_of(head["rows"])
            contents: Packed | list[Values] = head["rows"]
        else:
            contents, flaw = _packed(head)
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptBatch(f"{name} has not all parts of a batch: {error or type(error).__name__}.") from error
    if flaw:
        raise CorruptBatch(f"{name} {flaw}.")
    backends, etag, dimensions = tuple(map(str, head.get("backends", ()))), head.get("etag"), head.get("dimensions")
    known = (etag if isinstance(etag, str) else "", dimensions if isinstance(dimensions, int) else 0)
    return Commit(model, vectors, contents, str(head.get("made", "")), backends, *known)


def _packed(head: dict[str, Any]) -> tuple[Packed, str]:
    lengths, docs = np.frombuffer(head["lengths"], np.uint32), np.frombuffer(head["docs"], DOCS)
    packed = Packed(head["rows"], lengths, docs, head["gone"], head["attributes"])
    if packed.digest() != head["digest"]:
        return packed, "does not match its own hash"
    return packed, packed.flaw()
