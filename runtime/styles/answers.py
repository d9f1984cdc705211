"""What a handler wants to be answered, as an HttpAnswer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic_core import to_json

from runtime.file import HttpAnswer

_OURS = frozenset({"connection", "content-length", "content-type", "keep-alive", "transfer-encoding", "upgrade"})
"""The server's own to say; the type goes with the body."""


def http_answer(status: int, headers: Iterable[tuple[Any, Any]], body: bytes | str | Any, default: str) -> HttpAnswer:
    """Bytes and text as they are, anything else as JSON. `default` is the media type where no header names one.

    Raises ValueError for a status or a header that HTTP does not have.
    """
    kind, kept = "", list[tuple[str, str]]()
    for name, value in headers:
        text = "true" if value is True else "false" if value is False else str(value)
        if str(name).lower() == "content-type":
            kind = text
        elif str(name).lower() not in _OURS:
            kept.append((str(name), text))
    if isinstance(body, str):
        content = body.encode()
    elif isinstance(body, bytes | bytearray | memoryview):
        content = bytes(body)
    else:
        content, default = (b"" if body is None else to_json(body)), "application/json"
    return HttpAnswer(content, status, kept, kind or default)


def pairs(headers: Any) -> Iterable[tuple[Any, Any]]:
    """Headers from whatever they were given as: a mapping, or a list of pairs."""
    if headers is None:
        return ()
    return list(headers.items()) if isinstance(headers, Mapping) or hasattr(headers, "items") else list(headers)
