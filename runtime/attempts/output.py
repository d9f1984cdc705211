"""What one attempt puts out, cut and counted, until it is written away. It knows no broker and never waits."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable

from runtime.attempts.lines import BYTES_LIMIT, LINE_LIMIT, LINES_LIMIT, PROGRESS, Line, cut
from runtime.security.principal import DEFAULT_TENANT

MANY_REPORTS = 1000
SELDOM_SECONDS = 5.0
"""After so many written reports of progress, the next ones are this far apart: they must not push the lines out."""


class Output:
    """Lines and progress of one attempt. `mask` takes secrets out, `wake` is called when something is to be written."""

    def __init__(
        self,
        task_id: str,
        function: str,
        number: int,
        wake: Callable[[], None],
        mask: Callable[[str], str] = str,
        tenant: str = DEFAULT_TENANT,
    ) -> None:
        self.task_id, self.function, self.number, self._mask = task_id, function, number, mask
        self.tenant = tenant
        self.writing = threading.Lock()
        """Held while what was taken is on its way, so that lines keep their order."""
        self._wake = wake
        # Reentrant: a signal handler may print, too.
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._over = False
        self._begun: dict[tuple[str, int], str] = {}
        """The line that each thread has begun on a stream."""
        self._lines: list[Line] = []
        self._count = self._bytes = 0
        self._dropped_lines = self._dropped_bytes = 0
        self._report: Line | None = None
        self._reports, self._reported = 0, 0.0

    def write(self, stream: str, text: str) -> None:
        """Take a piece of stdout or stderr. A process that the function has forked is not heard."""
        if self._over or not text or os.getpid() != self._pid:
            return
        with self._lock:
            key = stream, threading.get_ident()
            if self._full:
                self._drop(text.count("\n"), len(text.encode(errors="replace")))
                return
            *lines, rest = (self._begun.pop(key, "") + text).split("\n")
            for line in lines:
                self._add(stream, "", line)
            if rest := _shown(rest):
                # What is beyond the limit is only counted, so that a line without an end takes no memory.
                self._dropped_bytes += max(0, len(rest) - LINE_LIMIT - 1)
                self._begun[key] = rest[: LINE_LIMIT + 1]

    def record(self, level: str, text: str) -> None:
        """Take a record of the logging module; each of its lines is a line."""
        if self._over or os.getpid() != self._pid:
            return
        with self._lock:
            for line in text.split("\n"):
                self._add("log", level, line)

    def progress(self, done: float, total: float | None, message: str) -> None:
        """Take a report of progress; only the newest counts."""
        if self._over or os.getpid() != self._pid:
            return
        text = json.dumps({"done": done, "total": total, "message": self._mask(message)}).encode()
        self._report = Line(_now_ms(), self.number, PROGRESS, text)
        self._wake()

    def end(self) -> None:
        """Take nothing more; close the lines that were begun, and say what was left out."""
        with self._lock:
            for (stream, _), text in self._begun.items():
                self._add(stream, "", text)
            self._begun.clear()
            if self._dropped_lines or self._dropped_bytes:
                told = (
                    f"{self._dropped_lines} lines and {self._dropped_bytes} bytes more are not kept: an attempt may "
                    f"put out {LINES_LIMIT} lines, {BYTES_LIMIT // 1024} KiB, and {LINE_LIMIT // 1024} KiB a line"
                )
                self._lines.append(Line(_now_ms(), self.number, "log", told.encode(), "WARNING"))
            self._over = True

    def take(self) -> tuple[list[Line], Line | None]:
        """What is to be written now: lines, and the newest report of progress if it is time for one."""
        with self._lock:
            lines, self._lines = self._lines, []
            report = self._report if self._over or self._time_to_report() else None
            if report:
                self._report, self._reported, self._reports = None, time.monotonic(), self._reports + 1
            return lines, report

    def put_back(self, lines: list[Line], report: Line | None) -> None:
        """What was taken could not be written."""
        with self._lock:
            self._lines[:0] = lines
            self._report = self._report or report

    def _time_to_report(self) -> bool:
        return self._reports < MANY_REPORTS or time.monotonic() - self._reported >= SELDOM_SECONDS

    @property
    def _full(self) -> bool:
        return self._count >= LINES_LIMIT or self._bytes >= BYTES_LIMIT

    def _add(self, stream: str, level: str, text: str) -> None:
        data = self._mask(_shown(text).rstrip("\r")).encode(errors="replace")
        if self._full:
            self._drop(1, len(data) + 1)
            return
        self._dropped_bytes += max(0, len(data) - LINE_LIMIT)
        data = cut(data, min(LINE_LIMIT, BYTES_LIMIT - self._bytes))
        self._count, self._bytes = self._count + 1, self._bytes + len(data)
        self._lines.append(Line(_now_ms(), self.number, stream, data, level))
        self._wake()

    def _drop(self, lines: int, size: int) -> None:
        self._dropped_lines, self._dropped_bytes = self._dropped_lines + lines, self._dropped_bytes + size


def _shown(text: str) -> str:
    """What a terminal shows of a line: after a carriage return it begins anew (progress bars draw like this)."""
    body = text.rstrip("\r")
    return body.rpartition("\r")[2] + text[len(body) :]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
