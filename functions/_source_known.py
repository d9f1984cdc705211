"""What was embedded of a source the last time: versions, etags, and the ids by which rows that left are noticed.

It lies in the store beside the index, `sources/INDEX/NAME/state.json`, and is written when a run has ended well. If it
is lost, everything is read once more, and what left meanwhile stays.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from runtime.context import Context
from runtime.errors import ObjectMissing

from ._chunk import CHUNKER_VERSION
from ._source import Source

FOLDER = "sources"

IDS_LIMIT = 1_000_000
"""Ids that are held in memory. With more, rows that leave their source stay in the index."""


@dataclass(slots=True)
class Unit:
    """A file, or a table: `etag` is of the file that was read, or the table's identity; `version` is a table's.

    `ids` names the object that holds the ids of its rows; empty where they were too many.
    """

    etag: str = ""
    version: int = 0
    rows: int = 0
    ids: str = ""


@dataclass(slots=True)
class Known:
    """`mapping`: how the rows were made into documents. With another one, unchanged files are read again."""

    mapping: str = ""
    units: dict[str, Unit] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, told: dict[str, Any]) -> Known:
        return cls(told["mapping"], {name: Unit(**unit) for name, unit in told["units"].items()})


class Memory:
    """Where the state of one source is kept."""

    def __init__(self, context: Context, index: str, source: Source, bucket: str) -> None:
        self._store = context.store
        cut = context.index.chunking(index)
        self._folder = f"{FOLDER}/{index}/{_digest(source.place(bucket))[:16]}"
        self.mapping = _digest([CHUNKER_VERSION, asdict(cut), {**asdict(source), "objects": "", "delta": ""}])[:16]

    def load(self) -> Known:
        """What is known; nothing where that cannot be read."""
        try:
            return Known.of(json.loads(self._store.get(self._store.bucket, f"{self._folder}/state.json").data))
        except (ObjectMissing, ValueError, KeyError, TypeError):
            return Known()

    def save(self, known: Known, before: Known) -> None:
        """Keep it, and remove the ids that were needed before only."""
        told = json.dumps(known.plain()).encode()
        self._store.put(self._store.bucket, f"{self._folder}/state.json", told, content_type="application/json")
        kept = {unit.ids for unit in known.units.values()}
        for unit in before.units.values():
            if unit.ids and unit.ids not in kept:
                self._store.delete(self._store.bucket, unit.ids)

    def put_ids(self, ids: Iterable[str]) -> str:
        """Write ids under a name made of them."""
        data = gzip.compress(json.dumps(sorted(ids)).encode("utf-8", "surrogatepass"), 1, mtime=0)
        key = f"{self._folder}/ids/{hashlib.sha256(data).hexdigest()}.json.gz"
        self._store.put(self._store.bucket, key, data)
        return key

    def ids(self, unit: Unit | None) -> set[str] | None:
        """The ids of a unit; None where nobody knows them."""
        if unit is None or not unit.ids:
            return None
        try:
            return set(json.loads(gzip.decompress(self._store.get(self._store.bucket, unit.ids).data)))
        except (ObjectMissing, ValueError, OSError, EOFError):
            return None


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()
