"""What an index holds, and when it is time to move it to a larger engine."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.context import Advice, Capacity, Context, advice, capacity, level_of, next_step

QDRANT = "qdrant"


@dataclass(frozen=True, slots=True)
class IndexStats:
    """The current version of an index. `memory_bytes` is what a reader maps; generation 0 means no version yet.

    `migration_urgency` is 0–100; `advice` is "fine" below 70, "plan" up to 90, "now" above. `capacity` says where the
    machine that ran this runs out, and what to do then; None while there are no vectors, and where Qdrant holds them,
    which is as urgent as nothing. `next_step` names the command that moves the index, from an urgency of 70 on.
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
    capacity: Capacity | None
    next_step: str = ""


def stats(index: str = "default", *, context: Context) -> IndexStats:
    """Size and version of an index, and how urgent it is to move to a larger engine."""
    current = context.index.current(index)
    vectors, size = (current.vectors, current.bytes) if current else (0, 0)
    level = level_of(current) if current else 0.0
    held_here = current is not None and current.kind != QDRANT
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
        capacity=capacity(vectors, size, current.dimensions, current.kind) if current and held_here else None,
        next_step=next_step(index, level),
    )
