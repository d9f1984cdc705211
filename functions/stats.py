"""What an index holds, and when it is time to move it to a larger engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from runtime.context import Context

FULL_VECTORS = 500_000
FULL_BYTES = 2 * 2**30
Advice = Literal["fine", "plan", "now"]


@dataclass(frozen=True, slots=True)
class IndexStats:
    """The current version of an index. `memory_bytes` is what a reader maps; generation 0 means no version yet.

    `migration_urgency` is 0–100; `advice` is "fine" below 70, "plan" up to 90, "now" above.
    """

    index: str
    version: str
    generation: int
    vectors: int
    documents: int
    dimensions: int
    memory_bytes: int
    index_type: str
    migration_urgency: float
    advice: Advice


def stats(index: str = "default", *, context: Context) -> IndexStats:
    """Size and version of an index, and how urgent it is to move to a larger engine."""
    current = context.index.current(index)
    vectors, size = (current.vectors, current.bytes) if current else (0, 0)
    level = urgency(vectors, size)
    return IndexStats(
        index=index,
        version=current.version if current else "",
        generation=current.generation if current else 0,
        vectors=vectors,
        documents=current.documents if current else 0,
        dimensions=current.dimensions if current else 0,
        memory_bytes=size,
        index_type=current.kind if current else "",
        migration_urgency=round(level, 2),
        advice=advice(level),
    )


def urgency(vectors: int, size: int) -> float:
    """0–100 from the number of vectors and the bytes, whichever is nearer to its limit."""
    return max(min(100.0, vectors / FULL_VECTORS * 100), min(100.0, size / FULL_BYTES * 100))


def advice(level: float) -> Advice:
    if level < 70:
        return "fine"
    return "plan" if level <= 90 else "now"
