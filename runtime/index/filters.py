"""Filters: which rows a search looks at. Light, so that the gateway can name them without the index's libraries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from runtime.index import terms

Span = tuple[bytes, bytes]
"""The terms from the first to before the second."""

_END = b"\xff" * 9
"""After everything that may follow: no UTF-8 has this byte, and numbers are eight bytes."""


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from `low` to `high`, both included; None is no limit."""

    low: float | None = None
    high: float | None = None


Value = str | float | Range


@dataclass(frozen=True, slots=True)
class Filters:
    """Every field that is given must hold; of several values of one field, one must.

    `prefixes`: beginnings of keys. `types`: media types, or `text/*`. `modified`: seconds since the epoch. `meta`:
    name and values; a text equals what is written so, a number equals a number however it is written.
    """

    buckets: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    modified: Range | None = None
    meta: tuple[tuple[str, tuple[Value, ...]], ...] = ()
    tenants: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self != _NONE

    def spans(self) -> Iterator[list[Span]]:
        """For each field that is given, the spans of which a row must have a term in one."""
        if self.tenants:
            yield [_equal(terms.text(terms.TENANT, tenant)) for tenant in self.tenants]
        if self.buckets:
            yield [_equal(terms.text(terms.BUCKET, bucket)) for bucket in self.buckets]
        if self.types:
            yield [_type(kind) for kind in self.types]
        for name, values in self.meta:
            yield [_meta(name, value) for value in values]
        if self.prefixes:
            yield [_beginning(terms.text(terms.KEY, prefix)) for prefix in self.prefixes]
        if self.modified:
            yield [_between(terms.TIME, self.modified)]


_NONE = Filters()


def _equal(term: bytes) -> Span:
    return term, term + b"\0"


def _beginning(term: bytes) -> Span:
    return term, term + _END


def _between(field: bytes, limits: Range) -> Span:
    low = field if limits.low is None else field + terms.number(limits.low)
    return low, field + _END if limits.high is None else field + terms.number(limits.high) + b"\0"


def _type(kind: str) -> Span:
    term = terms.text(terms.TYPE, terms.media_type(kind))
    return _beginning(term[:-1]) if term.endswith(b"/*") else _equal(term)


def _meta(name: str, value: Value) -> Span:
    if isinstance(value, Range):
        return _between(terms.meta_number(name), value)
    if isinstance(value, str):
        return _equal(terms.meta_text(name, value))
    return _equal(terms.meta_number(name, value))
