"""Removing what no version of an index needs any more."""

from __future__ import annotations

from dataclasses import dataclass, field

from runtime.context import Context
from runtime.errors import BadInput

DAY_SECONDS = 86_400
SAFE_DAYS = 7


@dataclass(frozen=True, slots=True)
class CleanupResult:
    """How many parts were removed, by kind, in all and in each index."""

    removed: dict[str, int] = field(default_factory=dict)
    indexes: dict[str, dict[str, int]] = field(default_factory=dict)


def cleanup(
    retention_days: float = SAFE_DAYS, override: bool = False, index: str | None = None, *, context: Context
) -> CleanupResult:
    """Remove versions, segments and batches that are older than `retention_days` and not needed.

    Never the current version, nor the batches that it could be rebuilt from. Every index, or `index` alone. Less than 7
    days needs `override`. Raises BadInput.
    """
    if not retention_days >= 0:
        raise BadInput(f"retention_days must not be negative; it is {retention_days}.")
    if retention_days < SAFE_DAYS and not override:
        raise BadInput(
            f"retention_days is {retention_days:g}: versions younger than {SAFE_DAYS} days may still be wanted for a "
            "rollback. Pass override=true to remove them all the same."
        )
    result = CleanupResult()
    for name in [index] if index is not None else context.index.names():
        counts = context.index.cleanup(name, retention_days * DAY_SECONDS)
        result.indexes[name] = counts
        for kind, count in counts.items():
            result.removed[kind] = result.removed.get(kind, 0) + count
        context.log.info("index %s: removed %s", name, counts)
    return result
