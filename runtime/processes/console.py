"""One readable log of many processes: every line behind the name of who wrote it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable, Mapping
from typing import TextIO

from runtime.security.redact import Redactor, of_environ
from runtime.telemetry.log_format import BEGINS, line

_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)
_WIDTH = 18
_OWN = "tundish"


class Console:
    """Writes whole lines from any thread. Names are coloured on a terminal only (and not where NO_COLOR is set)."""

    def __init__(self, stream: TextIO, environ: Mapping[str, str]) -> None:
        self._stream, self._lock = stream, threading.Lock()
        self._colours: dict[str, int] | None = {} if stream.isatty() and not environ.get("NO_COLOR") else None
        self._redact = Redactor(of_environ(environ))
        self.json = False
        """Every line is one of JSON: what a child logs as it is, everything else put into one."""

    def line(self, name: str, text: str) -> None:
        """One line of a child's output."""
        self.lines(name, (text,))

    def lines(self, name: str, texts: Iterable[str]) -> None:
        """Lines of a child's output."""
        self._write(*(self._of_child(name, text) for text in texts))

    def say(self, text: str) -> None:
        """Words of our own; each of their lines gets the prefix."""
        self._write(*(self._told(_OWN, self._redact(one), "tundish") for one in text.splitlines() or [""]))

    def plain(self, text: str = "") -> None:
        """Words that are an answer, not a log: no prefix."""
        self._write(text)

    def _of_child(self, name: str, text: str) -> str:
        if self.json and text.startswith(BEGINS):
            return text
        return self._told(name, self._redact(text), "stdout")

    def _told(self, name: str, text: str, logger: str) -> str:
        if self.json:
            return line(time.time(), "INFO", logger, text, {"process": name})
        return f"{self._prefix(name)} {text}"

    def _prefix(self, name: str) -> str:
        padded = f"{name:<{_WIDTH}} |"
        if self._colours is None:
            return padded
        if name == _OWN:
            return f"\x1b[1m{padded}\x1b[0m"
        with self._lock:
            colour = self._colours.setdefault(name, _COLOURS[len(self._colours) % len(_COLOURS)])
        return f"\x1b[{colour}m{padded}\x1b[0m"

    def _write(self, *lines: str) -> None:
        text = "".join(f"{one}\n" for one in lines).encode("utf-8", "replace")
        # A reader that went away (`tundish up | head`) must not end the system it was reading about.
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._stream.write(text.decode(self._stream.encoding or "utf-8", "replace"))
            self._stream.flush()
