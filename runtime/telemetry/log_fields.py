"""What a line of the log is about: the call at hand, whoever writes the line. Stdlib only.

The wrapper around every function sets it, and so does the gateway for a request; threads that a function starts take
it over (runtime/attempts/listening.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType

_FIELDS: ContextVar[Mapping[str, str]] = ContextVar("tundish_log_fields", default=MappingProxyType({}))
_TRACE = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}")


def current() -> Mapping[str, str]:
    """task_id, function, tenant, attempt, traceparent and so on, as far as they are known here."""
    return _FIELDS.get()


def traceparent() -> dict[str, str]:
    """The W3C traceparent of what is done here, under that name; empty where there is none."""
    found = _FIELDS.get().get("traceparent")
    return {"traceparent": found} if found else {}


def valid_trace(found: object) -> str | None:
    """A W3C traceparent that came from somewhere; None for anything else."""
    return found if isinstance(found, str) and _TRACE.fullmatch(found) else None


class about:  # noqa: N801 - it is read as a function; a block made of a generator takes twice as long
    """What is logged in this block is about this, too. Empty values say nothing."""

    __slots__ = ("_fields", "_token")

    def __init__(self, fields: Mapping[str, str | None]) -> None:
        self._fields = fields

    def __enter__(self) -> None:
        found = dict(_FIELDS.get())
        for name, value in self._fields.items():
            if value:
                found[name] = value
        self._token = _FIELDS.set(found)

    def __exit__(self, *_: object) -> None:
        _FIELDS.reset(self._token)


def shown(fields: Mapping[str, str]) -> dict[str, str]:
    """As a log tells of them: the two halves of a traceparent go by the names that tools look for."""
    told = dict(fields)
    match = _TRACE.match(told.pop("traceparent", ""))
    return told | ({"trace_id": match[1], "span_id": match[2]} if match else {})
