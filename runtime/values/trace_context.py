"""W3C trace context: a `traceparent`, and the `tracestate` that came with it, which goes wherever the first one goes.

Stdlib only. https://www.w3.org/TR/trace-context/
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Self

LONGEST = 512
"""Characters of a tracestate that are passed on: what the standard asks for at least. Whole entries are left out."""
_ENTRIES = 32
_KEY = r"(?:[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})"
_ENTRY = re.compile(rf"{_KEY}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{{0,255}}[\x21-\x2b\x2d-\x3c\x3e-\x7e]")
_BETWEEN = "\t"
"""Stands between the two in a record. Neither can hold one."""


class Trace(str):
    """A traceparent that knows its tracestate. Whoever knows of no tracestate reads just the traceparent."""

    __slots__ = ("state",)
    state: str

    def __new__(cls, traceparent: str, state: str = "") -> Self:
        made = super().__new__(cls, traceparent)
        made.state = state
        return made


def state_of(given: Iterable[str]) -> str:
    """The tracestate of these headers; empty where it is none, as the standard wants it."""
    entries = [entry for text in given for part in text.split(",") if (entry := part.strip(" \t"))]
    if len(entries) > _ENTRIES or not all(map(_ENTRY.fullmatch, entries)):
        return ""
    while sum(map(len, entries)) + len(entries) - 1 > LONGEST:
        entries.pop()  # the oldest
    return ",".join(entries)


def packed(trace: str | None) -> str | None:
    """Both in one text, for a record."""
    state = getattr(trace, "state", "")
    return f"{trace}{_BETWEEN}{state}" if state else trace


def unpacked(text: str) -> Trace:
    """What `packed` has made."""
    traceparent, _, state = text.partition(_BETWEEN)
    return Trace(traceparent, state)


def headers(trace: str | None) -> dict[str, str]:
    """What a request that goes on in this trace carries."""
    if not trace:
        return {}
    state = getattr(trace, "state", "")
    return {"traceparent": str(trace), **({"tracestate": state} if state else {})}
