"""Removing what no version of an index and no call needs any more."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from runtime.context import Context
from runtime.errors import BadInput

DAY_SECONDS = 86_400
SAFE_DAYS = 7
LONGEST_DELAY_DAYS = 30
"""A call may wait so long for its time; its arguments must be there then."""


@dataclass(frozen=True, slots=True)
class CleanupResult:
    """How many parts were removed, by kind, in all and in each index."""

    removed: dict[str, int] = field(default_factory=dict)
    indexes: dict[str, dict[str, int]] = field(default_factory=dict)


def cleanup(
    retention_days: float = SAFE_DAYS, override: bool = False, index: str | None = None, *, context: Context
) -> CleanupResult:
    """Remove versions, segments and batches that are older than `retention_days` and not needed, and large results.

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
            _add(result, kind, count)
        context.log.info("index %s: removed %s", name, counts)
    if index is None:
        # Records name them for as long as failures are kept: seven days, if functions.yaml says nothing else.
        _add(result, "results", _remove("results/", retention_days, context))
        _add(result, "arguments", _remove("arguments/", retention_days + LONGEST_DELAY_DAYS, context))
    return result


def _add(result: CleanupResult, kind: str, count: int) -> None:
    result.removed[kind] = result.removed.get(kind, 0) + count


def _remove(prefix: str, days: float, context: Context) -> int:
    """Remove the large arguments or results of calls that are older than `days`; how many."""
    store, before, count = context.store, time.time() - days * DAY_SECONDS, 0
    for item in store.list(store.bucket, prefix):
        if item.modified < before:
            store.delete(item.bucket, item.key)
            count += 1
    return count
