"""stdout and stderr of a process that logs as JSON: what is printed becomes a line of JSON, too."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from typing import Any, TextIO

LONGEST = 64 * 1024
"""Characters of a line; what is longer becomes several."""


class JsonStream(io.TextIOBase):
    """A text stream of which every whole line is written by `wrap` to the stream below."""

    def __init__(self, stream: TextIO, wrap: Callable[[str], str]) -> None:
        self._stream, self._wrap = stream, wrap
        # Reentrant: a signal handler may print, too.
        self._lock = threading.RLock()
        self._begun: dict[int, str] = {}
        """The line that each thread has begun."""

    def write(self, text: str) -> int:
        thread = threading.get_ident()
        with self._lock:
            *lines, rest = (self._begun.pop(thread, "") + text).split("\n")
            while len(rest) > LONGEST:
                lines, rest = [*lines, rest[:LONGEST]], rest[LONGEST:]
            if rest:
                self._begun[thread] = rest
            told = "".join(self._wrap(line.rstrip("\r")) + "\n" for line in lines if line.strip())
            if told:
                self._stream.write(told)
                self._stream.flush()
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def close(self) -> None:
        """The stream belongs to the process: nobody closes it here."""

    def below(self) -> TextIO:
        """The stream that it writes to."""
        return self._stream

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return self._stream.errors

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
