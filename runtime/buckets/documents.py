"""What became of an object: the ledger's entries, who watches which key, and status lookups (read only).

The ledger itself is written by `triggers`, and by a redrive (runtime/buckets/reopen.py). The gateway and the command
line read it here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import redis
import redis.asyncio

from runtime.broker.connection import translated
from runtime.buckets import entry
from runtime.buckets.entry import Entry
from runtime.buckets.watch import Watch, watches
from runtime.config.settings import Project
from runtime.invocations.invocation import Invocation, read_async, read_many

Status = Literal["pending", "processing", "completed", "failed", "removed", "unwatched"]

# Of several triggers on one key, the least settled one speaks for the document.
_WEIGHT: tuple[Status, ...] = ("processing", "pending", "failed", "completed", "removed", "unwatched")

_SETTLED: Mapping[str, Status] = {
    "done": "completed",
    "dead": "failed",
    "removed": "removed",
    "skipped": "unwatched",
    "cleared": "unwatched",
}

CLEARED = "It failed, and the record of that has left since. It is tried again when it changes, and by a replay."
"""The reason of what has no other one any more."""


def document_status(client: redis.Redis, project: Project, bucket: str, key: str) -> dict[str, Any] | None:
    """What became of an object, or None where it is watched but the ledger has never heard of it.

    `status` is pending (not begun), processing, completed, failed, removed or unwatched; `reason` a sentence or
    None; `notes` what was left out of it; `processed_at` seconds since the epoch or None; `triggers` the same per
    trigger, each with its function and `index` (not None: searchable there once a version with this `seq` is out).
    Raises BrokerDown.
    """
    watching = _watching(project, bucket, key)
    with translated():
        entries = [entry.read(client.hget(watch.ledger, key)) for watch in watching]
        records = read_many(client, _asked(entries))
    return _summary(project, bucket, key, watching, entries, records)


async def document_status_async(
    client: redis.asyncio.Redis, project: Project, bucket: str, key: str
) -> dict[str, Any] | None:
    """`document_status` for asyncio."""
    watching = _watching(project, bucket, key)
    with translated():
        entries = [entry.read(await client.hget(watch.ledger, key)) for watch in watching]
        records = {task_id: await read_async(client, task_id) for task_id in _asked(entries)}
    return _summary(project, bucket, key, watching, entries, records)


def _watching(project: Project, bucket: str, key: str) -> list[Watch]:
    return [watch for watch in watches(project) if watch.trigger.bucket == bucket and watch.wants(key)]


def _asked(entries: Sequence[Entry | None]) -> list[str]:
    return [entry.invocation for entry in entries if entry and entry.state == "pending" and entry.invocation]


def _summary(
    project: Project,
    bucket: str,
    key: str,
    watching: Sequence[Watch],
    entries: Sequence[Entry | None],
    records: Mapping[str, Invocation | None],
) -> dict[str, Any] | None:
    base: dict[str, Any] = {"bucket": bucket, "key": key}
    if not watching:
        return base | {
            "status": "unwatched",
            "reason": _why_unwatched(project, bucket, key),
            "notes": [],
            "triggers": [],
        }
    told = [_told(watch, entry, records) for watch, entry in zip(watching, entries, strict=True) if entry]
    if not told:
        return None
    worst = min(told, key=lambda one: _WEIGHT.index(one["status"]))
    return base | {name: value for name, value in worst.items() if name != "function"} | {"triggers": told}


def _told(watch: Watch, known: Entry, records: Mapping[str, Invocation | None]) -> dict[str, Any]:
    status, reason = _status(known, records.get(known.invocation))
    return {
        "status": status,
        "reason": reason or None,
        "notes": known.notes if status == "completed" else [],
        "function": watch.function.name,
        "index": watch.trigger.index,
        "invocation": known.invocation or None,
        "event": known.event,
        "etag": known.etag or None,
        "size": known.size,
        "seq": known.seq,
        "processed_at": known.at if status in ("completed", "failed", "removed") else None,
    }


def _status(known: Entry, record: Invocation | None) -> tuple[Status, str]:
    if known.state != "pending":
        # A change that was seen meanwhile is on its way: the object as it is now has not been processed.
        status = "pending" if known.again or known.forced else _SETTLED[known.state]
        if known.state == "cleared" and status == "unwatched":
            return status, CLEARED
        return status, "" if known.notes else known.reason
    if record is not None and record.state == "running":
        return "processing", ""
    if record is not None and record.state == "retrying":
        error = (record.error or {}).get("message", "")
        return "pending", f"attempt {record.attempts} failed and is tried again: {error}" if error else ""
    return "pending", ""


def _why_unwatched(project: Project, bucket: str, key: str) -> str:
    mine = [watch for watch in watches(project) if watch.trigger.bucket == bucket]
    if not mine:
        named = ", ".join(project.buckets()) or "none"
        return f"No trigger watches the bucket {bucket!r}; watched buckets: {named}."
    if key.endswith("/"):
        return f"{key!r} is a folder marker, and no document: no trigger takes such keys."
    wanted = "; ".join(f"{watch.function.name} takes {watch.pattern}" for watch in mine)
    return f"No trigger on the bucket {bucket!r} takes the key {key!r}: {wanted}."
