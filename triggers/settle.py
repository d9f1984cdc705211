"""What the end of an invocation means for the keys it was given. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runtime.entry import Entry
from runtime.invocations import Invocation
from triggers.ledger import Change, Known


@dataclass(frozen=True, slots=True)
class Settled:
    """The entries to write, and the keys to look at again."""

    changes: list[Change]
    hints: list[str]


def settle(
    bucket: str, task_id: str, record: Invocation | None, names: Sequence[str], known: Sequence[Known], now: float
) -> Settled:
    """Close the entries that are pending under `task_id`; `record` is its terminal record, None where it is gone.

    Succeeded: done, but dead with its reason for each object in the result's `failed` list. Ended otherwise: dead
    with the error; but the objects of a failed batch go once more, in halves, until the one that fails is alone.
    Gone (kept too shortly, or wiped), or left over for want of time (`deferred` in the result): pending under
    nobody, and looked at again, which submits it once more. An entry that meanwhile belongs to a newer invocation
    is left alone.
    """
    failed, deferred = _named(bucket, record, "failed"), _named(bucket, record, "deferred")
    apart = record is not None and record.split and record.state in ("failed", "dead")
    share = (len(names) + 1) // 2 if apart else 0
    settled = Settled([], [])
    for key, before in zip(names, known, strict=True):
        entry = before.entry
        if entry is None or entry.state != "pending" or entry.invocation != task_id:
            continue
        open_again = record is None or apart or key in deferred
        if record is None or open_again:
            after = entry.moved(now, invocation="", share=share)
        else:
            after = _close(entry, record, failed.get(key), now)
        if entry.again or open_again:
            settled.hints.append(key)
        settled.changes.append(Change(key, before, after))
    return settled


def _close(entry: Entry, record: Invocation, failure: Mapping[str, Any] | None, now: float) -> Entry:
    # What was there in between is unknown (A, then B, then A again): with no etag the next look hands it out again.
    etag = "" if entry.again else entry.etag
    if record.state != "succeeded":
        return entry.moved(now, state="dead", etag=etag, reason=_reason(record))
    if failure is not None:
        # The function names the etag of the bytes it read; a later one than was seen here waits for its successor.
        read = etag and str(failure.get("etag") or etag)
        return entry.moved(now, state="dead", etag=read, reason=str(failure.get("reason") or "failed"))
    return entry.moved(now, state="removed" if entry.event == "removed" else "done", etag=etag, reason="", share=0)


def _reason(record: Invocation) -> str:
    error = record.error or {}
    named = ": ".join(str(error[part]) for part in ("type", "message") if error.get(part))
    return named or f"the invocation {record.id} was {record.state}"


def _named(bucket: str, record: Invocation | None, what: str) -> dict[str, Mapping[str, Any]]:
    """The objects that a result reports in a list like `failed: [{bucket, key, etag, reason}]`, by key."""
    if record is None or record.state != "succeeded" or not record.result_json:
        return {}
    try:
        result = json.loads(record.result_json)
    except ValueError:
        return {}
    listed = result.get(what) if isinstance(result, dict) else None
    if not isinstance(listed, list):
        return {}
    return {
        item["key"]: item
        for item in listed
        if isinstance(item, dict) and isinstance(item.get("key"), str) and item.get("bucket", bucket) == bucket
    }
