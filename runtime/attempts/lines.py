"""What an invocation puts out, as it is kept: one entry of a Redis stream for every line and every report of progress.

| field | meaning |
|---|---|
| at | ms since the epoch |
| attempt | number of the attempt |
| stream | stdout, stderr, log (the logging module) or progress |
| level | of a log record: INFO, WARNING, … |
| text | the line without its end; of progress JSON {done, total, message}, of one that its children make go on also
|      | {per_second, seconds_left} |

The stream of all invocations (keys.LOGS) has `id` and `function` besides, and `tenant` where it is not the default one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runtime.security.principal import DEFAULT_TENANT

STREAMS = ("stdout", "stderr", "log")
PROGRESS = "progress"

LINE_LIMIT = 8 * 1024
"""Bytes of one line; the rest is cut off."""
BYTES_LIMIT = 256 * 1024
"""Bytes that one attempt may put out."""
LINES_LIMIT = 2000
"""Lines that one attempt may put out."""
ENTRIES_CAP = 20_000
"""Entries kept of one invocation, over all its attempts."""
ALL_CAP = 10_000
"""Entries kept in the stream of all invocations."""
ALL_LINE_LIMIT = 1024
"""Bytes of one line there: it is for watching, the whole line is with its invocation."""


@dataclass(frozen=True, slots=True)
class Line:
    """One entry. `id` is that of the stream's entry, `at` is in milliseconds."""

    at: int
    attempt: int
    stream: str
    text: bytes
    level: str = ""
    id: str = ""
    task_id: str = ""
    function: str = ""
    tenant: str = DEFAULT_TENANT

    def fields(self) -> dict[bytes | str, Any]:
        found: dict[bytes | str, Any] = {
            "at": self.at,
            "attempt": self.attempt,
            "stream": self.stream,
            "text": self.text,
        }
        return found | ({"level": self.level} if self.level else {})

    def shown(self) -> dict[str, Any]:
        """As the HTTP interface tells of it; times in seconds."""
        told: dict[str, Any] = {"id": self.id, "at": self.at / 1000, "attempt": self.attempt}
        if self.stream == PROGRESS:
            told.update(json.loads(self.text))
            return told
        told |= {"stream": self.stream, "level": self.level or None, "text": self.text.decode(errors="replace")}
        return told | ({"task_id": self.task_id, "function": self.function} if self.task_id else {})

    def plain(self) -> str:
        """As a person reads it."""
        return plain(self.text.decode(errors="replace"), self.level)


def plain(text: str, level: str | None) -> str:
    """A line as a person reads it."""
    return f"{level} {text}" if level else text


def decode(entry: tuple[bytes, Mapping[bytes, bytes]]) -> Line:
    """A line from an entry as the client library answers it."""
    name, fields = entry
    return Line(
        at=int(fields.get(b"at", 0)),
        attempt=int(fields.get(b"attempt", 0)),
        stream=fields.get(b"stream", b"").decode(),
        text=fields.get(b"text", b""),
        level=fields.get(b"level", b"").decode(),
        id=name.decode(),
        task_id=fields.get(b"id", b"").decode(),
        function=fields.get(b"function", b"").decode(),
        tenant=fields.get(b"tenant", DEFAULT_TENANT.encode()).decode(),
    )


def cut(data: bytes, limit: int) -> bytes:
    """At most `limit` bytes and a mark that there were more; no character is cut in two."""
    if len(data) <= limit:
        return data
    return data[:limit].decode(errors="ignore").encode() + "…".encode()
