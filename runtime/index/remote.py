"""What a version of an index is where an engine on other machines holds it: a collection, seen as of an epoch.

Every attempt to change a collection has an epoch of its own, a number that only grows. A point says in which one it
came (`born`) and in which one something newer took its place (`died`); points are never changed otherwise. So a
version is whole the moment its manifest is there, older versions stay what they were, and what an attempt wrote that
never got its manifest is seen by nobody, even if it goes on writing: its epoch is one of the `gaps`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

Span = tuple[int, int]
"""Epochs from the first to the last, both included."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A collection as of `epoch`. `gaps`: earlier epochs whose changes are not part of it. `rows` and `documents`
    are what is searchable; `bytes` is an estimate of what these vectors and texts take."""

    collection: str
    epoch: int
    gaps: tuple[Span, ...] = ()
    rows: int = 0
    documents: int = 0
    bytes: int = 0
    engine: str = "qdrant"

    def has(self, epoch: int) -> bool:
        """Whether the changes of an epoch are part of it."""
        return epoch <= self.epoch and not any(first <= epoch <= last for first, last in self.gaps)

    def after(self, epoch: int) -> Self:
        """What is built on it in an epoch: those between were never published."""
        gaps = self.gaps if epoch == self.epoch + 1 else (*self.gaps, (self.epoch + 1, epoch - 1))
        return replace(self, epoch=epoch, gaps=gaps)

    @classmethod
    def of(cls, stored: dict[str, Any] | None) -> Self | None:
        """As a manifest has it. Raises TypeError and ValueError for what is none."""
        if stored is None:
            return None
        gaps = tuple((int(first), int(last)) for first, last in stored["gaps"])
        known = {name: stored[name] for name in cls.__dataclass_fields__ if name in stored}
        return cls(**{**known, "gaps": gaps})
