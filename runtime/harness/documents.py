"""The documents that a bucket trigger handled, for functions under test."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class MemoryDocuments:
    """Implements `context.Documents`: `cleared` holds what was asked for (before, delete), `counts` is the answer."""

    cleared: list[tuple[float, bool]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def clear_failed(self, before: float, delete: bool) -> dict[str, int]:
        self.cleared.append((before, delete))
        return self.counts
