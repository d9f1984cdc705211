"""What the end of an invocation means for the keys it was given. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import unquote_plus

from runtime.buckets.entry import Entry
from runtime.invocations.invocation import Invocation
from triggers.ledger import Change, Known

NOTES_LIMIT = 500
"""Characters of what is kept of the notes on one object."""


@dataclass(frozen=True, slots=True)
class Settled:
    """The entries to write, the keys to look at again, and what the result reports that was no object of the call."""

    changes: list[Change]
    hints: list[str]
    odd: list[str] = field(default_factory=list)


def settle(
    bucket: str, task_id: str, record: Invocation | None, names: Sequence[str], known: Sequence[Known], now: float
) -> Settled:
    """Close the entries that are pending under `task_id`; `record` is its terminal record, None where it is gone.

    Succeeded: done, but dead with its reason for each object in the result's `failed` list; what was left out of an
    object (the `notes` of its entry in the list `noted`) becomes its reason, a line each. Ended otherwise: dead with
    the error; but the objects of a failed batch go once more, in halves, until the one that fails is alone.
    Gone (kept too shortly, or wiped), or left over for want of time (`deferred` in the result): pending under
    nobody, and looked at again, which submits it once more. An entry that meanwhile belongs to a newer invocation
    is left alone. An object that was another one when the function read it (`read: [{bucket, key, etag}]`) is looked
    at again: it may have gone and come back with the bytes that it was handed out with.
    """
    settled = Settled([], [])
    failed = _named(bucket, record, "failed", names, settled.odd)
    deferred = _named(bucket, record, "deferred", names, settled.odd)
    others = _named(bucket, record, "read", names, settled.odd)
    noted = _named(bucket, record, "noted", names, settled.odd)
    apart = record is not None and record.split and record.state in ("failed", "dead")
    half = (len(names) + 1) // 2
    for key, before in zip(names, known, strict=True):
        entry = before.entry
        if entry is None or entry.state != "pending" or entry.invocation != task_id:
            continue
        open_again = record is None or apart or key in deferred
        if record is None or open_again:
            after = entry.moved(now, invocation="", share=half if apart else entry.share)
        else:
            after = _close(entry, record, failed.get(key), others.get(key), now)
            if after.state == "done":
                after = replace(after, reason=_notes(noted.get(key)))
        if entry.again or open_again or key in others:
            settled.hints.append(key)
        settled.changes.append(Change(key, before, after))
    return settled


def _close(
    entry: Entry, record: Invocation, failure: Mapping[str, Any] | None, other: Mapping[str, Any] | None, now: float
) -> Entry:
    # What was there in between is unknown (A, then B, then A again): with no etag the next look hands it out again.
    etag = "" if entry.again else entry.etag
    if other is not None and etag:
        etag = str(other.get("etag") or "")  # what was really handled; what is there now is compared to that
    if record.state != "succeeded":
        return entry.moved(now, state="dead", etag=etag, reason=_reason(record))
    if failure is not None:
        # The function names the etag of the bytes it read; a later one than was seen here waits for its successor.
        read = etag and str(failure.get("etag") or etag)
        return entry.moved(now, state="dead", etag=read, reason=str(failure.get("reason") or "failed"))
    return entry.moved(now, state="removed" if entry.event == "removed" else "done", etag=etag, reason="", share=0)


def _notes(told: Mapping[str, Any] | None) -> str:
    notes = (told or {}).get("notes")
    lines = [" ".join(str(note).split()) for note in notes] if isinstance(notes, list) else []
    return "\n".join(filter(None, lines))[:NOTES_LIMIT]


def _reason(record: Invocation) -> str:
    error = record.error or {}
    named = ": ".join(str(error[part]) for part in ("type", "message") if error.get(part))
    return named or f"the invocation {record.id} was {record.state}"


def _named(
    bucket: str, record: Invocation | None, what: str, names: Sequence[str], odd: list[str]
) -> dict[str, Mapping[str, Any]]:
    """The objects that a result reports in a list like `failed: [{bucket, key, etag, reason}]`, by key.

    A key alone stands for its object, as does a key in the escaped form of S3's records. What is none of the objects
    of the call goes to `odd`.
    """
    if record is None or record.state != "succeeded" or not record.result_json:
        return {}
    try:
        result = json.loads(record.result_json)
    except ValueError:
        return {}
    listed = result.get(what) if isinstance(result, dict) else None
    if listed is None or isinstance(listed, int | float):  # a count is no list
        return {}
    found: dict[str, Mapping[str, Any]] = {}
    for item in listed if isinstance(listed, list) else [listed]:
        told = item if isinstance(item, dict) else {"key": item}
        key = told.get("key")
        wanted = (key, unquote_plus(key)) if isinstance(key, str) and told.get("bucket", bucket) == bucket else ()
        known = next((name for name in wanted if name in names), None)
        if known is None:
            odd.append(f"{what}: {item!r:.80}")
        else:
            found[known] = told
    return found
