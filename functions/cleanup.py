"""Removing what no version of an index and no call needs any more, and what uploads that broke off left behind."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from runtime.context import Context
from runtime.errors import BadInput, CorruptSegment, IndexUnavailable, ObjectMissing, StoreDenied

DAY_SECONDS = 86_400
SAFE_DAYS = 7
FAILED_HOURS = 24
LONGEST_DELAY_DAYS = 30
"""A call may wait so long for its time; its arguments must be there then."""
UPLOAD_SECONDS = DAY_SECONDS
"""An upload in parts that has not ended after so long is taken for broken off."""


@dataclass(frozen=True, slots=True)
class CleanupResult:
    """How many parts were removed, by kind, in all and in each index; `uploads` are those that broke off."""

    removed: dict[str, int] = field(default_factory=dict)
    indexes: dict[str, dict[str, int]] = field(default_factory=dict)


def cleanup(
    retention_days: float = SAFE_DAYS,
    override: bool = False,
    index: str | None = None,
    buckets: tuple[str, ...] = ("documents",),
    failed_hours: float = FAILED_HOURS,
    delete_failed: bool = False,
    *,
    context: Context,
) -> CleanupResult:
    """Remove versions, segments and batches that were not needed for `retention_days`, and large results.

    Never the current version, nor the batches that it could be rebuilt from. Every index, or `index` alone. Less than 7
    days needs `override`. Uploads in parts that were begun more than a day ago and never completed are ended, in
    Tundish's own bucket and in `buckets`. Records of documents that failed leave after `failed_hours`; the objects
    themselves only with `delete_failed`. Raises BadInput.
    """
    if not retention_days >= 0:
        raise BadInput(f"retention_days must not be negative; it is {retention_days}.")
    if not failed_hours >= 0:
        raise BadInput(f"failed_hours must not be negative; it is {failed_hours}.")
    if retention_days < SAFE_DAYS and not override:
        raise BadInput(
            f"retention_days is {retention_days:g}: versions younger than {SAFE_DAYS} days may still be wanted for a "
            "rollback. Pass override=true to remove them all the same."
        )
    result = CleanupResult()
    for name in [index] if index is not None else context.index.names():
        try:
            counts = context.index.cleanup(name, retention_days * DAY_SECONDS)
        except (CorruptSegment, IndexUnavailable, ObjectMissing) as error:
            context.log.error("index %s is not cleaned up: %s", name, error)
            continue
        result.indexes[name] = counts
        for kind, count in counts.items():
            _add(result, kind, count)
        context.log.info("index %s: removed %s", name, counts)
    if index is None:
        # Records name them for as long as failures are kept: seven days, if functions.yaml says nothing else.
        _add(result, "results", _remove("results/", retention_days, context))
        _add(result, "arguments", _remove("arguments/", retention_days + LONGEST_DELAY_DAYS, context))
        for bucket in sorted({context.store.bucket, *buckets}):
            _add(result, "uploads", _end_uploads(bucket, context))
        for kind, count in context.documents.clear_failed(time.time() - failed_hours * 3600, delete_failed).items():
            _add(result, kind, count)
    for kind, count in result.removed.items():
        context.count(f"removed_{kind}", count)
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


def _end_uploads(bucket: str, context: Context) -> int:
    """How many broken uploads were ended. A bucket that is not there, or that we may not clean, is no failure."""
    try:
        return context.store.abort_uploads(bucket, UPLOAD_SECONDS)
    except ObjectMissing:
        return 0
    except StoreDenied as error:
        context.log.warning("bucket %s: uploads that broke off stay there: %s", bucket, error)
        return 0
