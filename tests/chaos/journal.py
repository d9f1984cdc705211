"""What the functions wrote down: the side effects, to be counted."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Line:
    """`step` is `begin` or `done`; `at` is seconds since the epoch."""

    step: str
    function: str
    id: str
    attempt: int
    pid: int
    at: float
    parents: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)


class Journal:
    """Reads a journal that grows. Not thread-safe: every reader has one of its own."""

    def __init__(self, path: Path) -> None:
        self._path, self._offset = path, 0

    def new(self) -> list[Line]:
        """The lines written since the last call."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            whole, _, _ = file.read().rpartition(b"\n")  # the last line may be half written
        self._offset += len(whole) + bool(whole)
        return [Line(**json.loads(line)) for line in whole.splitlines()]

    def skip(self) -> None:
        """Begin at the end."""
        self._offset = self._path.stat().st_size if self._path.exists() else 0
