"""Rows of a source as documents: text, id and metadata by columns. What is wrong with a row is said of that row."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

from ._source import Source

ROWS = 1024
"""Rows of a Parquet file or a table that are decoded at once."""

ROWS_BYTES = 16 * 2**20
"""Of these rows: a table of long texts is decoded in smaller parts."""

NAMED = 100
"""Problems that are told in words; of the others only the number is."""

ID_LIMIT = 1024
METADATA_BYTES = 8192
TEXT_LIMIT = 16 * 2**20
"""Characters of the text of one row."""

_NOTHING = ("", None)
_HALF = re.compile("[\ud800-\udfff]")
"""Half of a character, as JSON can write it, and nobody can keep it: a text was cut by a program that counts halves."""


def at_once(rows: int, size: int) -> int:
    """How many of so many rows, which take `size` bytes together, are decoded at once."""
    return max(1, min(ROWS, rows * ROWS_BYTES // max(1, size)))


class BadRow(Exception):
    """A row that is no document, and why."""


@dataclass(slots=True)
class Problems:
    """What could not be read: how much, and the first of it in words."""

    count: int = 0
    named: list[str] = field(default_factory=list)

    def add(self, place: str, reason: str) -> None:
        self.count += 1
        self.tell(f"{place} {reason}")

    def tell(self, said: str) -> None:
        """What is no failure of a row. What came with bytes of no encoding is made fit to be printed."""
        if len(self.named) < NAMED:
            self.named.append(said.encode("utf-8", "replace").decode())


def document(source: Source, row: Mapping[str, Any], place: str) -> dict[str, Any]:
    """A row as an argument of embed_batch; `place` is its id where the source names no column. Raises BadRow."""
    texts = [_text(row.get(name)) for name in source.texts]
    text = _HALF.sub("\ufffd", "\n\n".join(one for one in texts if one.strip()))
    if not text:
        raise BadRow(f"has no text in {' or '.join(source.texts)}.")
    if len(text) > TEXT_LIMIT:
        raise BadRow(f"has a text of {len(text):,} characters; at most {TEXT_LIMIT:,} are read.")
    key = source.id_prefix + (named(source, row) if source.id else place)
    meta = {name: value for name, column in source.kept.items() if (value := _plain(row.get(column))) not in _NOTHING}
    if meta and (size := len(str(meta).encode("utf-8", "replace"))) > METADATA_BYTES:
        raise BadRow(f"has {size:,} bytes of metadata; at most {METADATA_BYTES:,} are kept.")
    return {"text": text, "id": key, "meta": meta}


def named(source: Source, row: Mapping[str, Any]) -> str:
    """The id of a row, without the prefix. Raises BadRow."""
    value = row.get(source.id)
    if value is None or isinstance(value, bool | list | dict | bytes) or not (name := _text(value).strip()):
        raise BadRow(f"has no id in {source.id}.")
    if _HALF.search(name):
        raise BadRow(f"has an id that is no text: {name[:40]!r}, with half of a character.")
    if len(name) > ID_LIMIT:
        raise BadRow(f"has an id of {len(name)} characters; at most {ID_LIMIT} are taken.")
    return name


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bytes | list | dict):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # an id that went through a table with gaps: 17, not 17.0
    return str(_plain(value))


def _plain(value: Any) -> Any:
    """A value as JSON has it; None where it has none for it."""
    if isinstance(value, str):
        return _HALF.sub("\ufffd", value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value) if value.is_finite() else None
    if isinstance(value, Mapping):
        return {_plain(str(name)): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None
