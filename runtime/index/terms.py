"""Terms: what filters ask of a row, each as bytes whose order is the order of the values.

A term is a letter for the field, then the value: texts as UTF-8, numbers as eight bytes that sort as numbers do. So
equality, a beginning of a text and a range of numbers are each one span of sorted terms. Pure.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from typing import Any

BUCKET, TYPE, META, KEY, TIME, TENANT = b"b", b"c", b"d", b"k", b"t", b"a"

LONGEST_NAME = 128
"""Characters of a metadata's name; longer ones cannot be asked for."""

LONGEST_VALUE = 1024
"""Characters of its value, likewise."""

MOST_VALUES = 64
"""Values of a list; those beyond cannot be asked for."""

RESERVED = frozenset(("content_type", "modified", "metadata", "title", "notes", "failed", "passing"))
"""What a row's meta holds besides metadata that can be asked for by name."""

_NUMBER = re.compile(r"-?\d{1,40}(\.\d{1,40})?([eE][+-]?\d{1,3})?", re.ASCII)
_NUMERIC, _TEXT = b"\0n", b"\0s"


def encoded(value: str) -> bytes:
    # A lone surrogate is no UTF-8; one may come in by JSON, and finds nothing.
    return value.encode("utf-8", "surrogatepass")


def text(field: bytes, value: str) -> bytes:
    return field + encoded(value)


def number(value: float) -> bytes:
    """Eight bytes that sort as the numbers do; not for NaN."""
    (bits,) = struct.unpack(">Q", struct.pack(">d", value + 0.0))  # -0.0 becomes 0.0
    return int(bits ^ (2**64 - 1 if bits >> 63 else 1 << 63)).to_bytes(8, "big")


def media_type(value: str) -> str:
    """`Text/Plain; charset=utf-8` → `text/plain`"""
    return value.partition(";")[0].strip().lower()


def meta_text(name: str, value: str) -> bytes:
    return text(META, name) + text(_TEXT, value)


def meta_number(name: str, value: float | None = None) -> bytes:
    """The term of a number; without one, what the terms of all numbers of that name begin with."""
    return text(META, name) + _NUMERIC + (b"" if value is None else number(value))


def of_meta(name: str, value: Any) -> Iterator[bytes]:
    """The terms of one entry of a row's metadata; none where it cannot be asked for.

    A text that is written like a number is also one, since stores keep nothing but texts; a number is also the text
    that it is written as. Of a list each value counts.
    """
    if not isinstance(name, str) or len(name) > LONGEST_NAME or "\0" in name:
        return
    for one in value[:MOST_VALUES] if isinstance(value, list | tuple) else (value,):
        said = written(one)
        if said is not None and len(said) <= LONGEST_VALUE:
            yield meta_text(name, said)
            known = float(said) if _NUMBER.fullmatch(said) else math.nan
            if math.isfinite(known):
                yield meta_number(name, known)


def written(value: Any) -> str | None:
    """A single value as the text that equals it; None for what is no text, number, true or false."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if -(2**63) <= value < 2**64 else None
    if isinstance(value, float) and math.isfinite(value):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    return None


def of_bucket(bucket: str) -> Iterator[bytes]:
    yield text(BUCKET, bucket)


def of_tenant(tenant: str) -> Iterator[bytes]:
    yield text(TENANT, tenant)


def noted(name: str, value: Any) -> Iterator[bytes]:
    """The terms of what is noted of a row besides the object's own metadata: its type, and whatever it was given."""
    if name == "content_type":
        if isinstance(value, str) and len(value) <= LONGEST_VALUE:
            yield text(TYPE, media_type(value))
    elif name not in RESERVED:
        yield from of_meta(name, value)


def modified(value: Any) -> float:
    """When an object was stored, in seconds since the epoch; NaN for what is no time."""
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15:
        return float(value)
    return math.nan


def of_row(meta: dict[str, Any]) -> Iterator[bytes]:
    """Every term of a row's meta but its time."""
    for name, value in meta.items():
        if name == "metadata":
            for one in value.items() if isinstance(value, dict) else ():
                yield from of_meta(*one)
        elif name != "modified":
            yield from noted(name, value)


def numbered(term: bytes) -> tuple[str, float] | None:
    """The name and value of the term of a number; None for every other one."""
    name, mark, rest = term[1:].partition(b"\0")
    if term[:1] != META or not mark or rest[:1] != _NUMERIC[1:] or len(rest) != 9:
        return None
    bits = int.from_bytes(rest[1:], "big")
    (value,) = struct.unpack(">d", struct.pack(">Q", bits & (2**63 - 1) if bits >> 63 else bits ^ (2**64 - 1)))
    return name.decode("utf-8", "surrogatepass"), value
