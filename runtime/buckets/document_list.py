"""Lists of documents from the ledgers, page by page, in no order.

A page does bounded work and may therefore be short and still have a cursor. A ledger goes on changing while it is
read: what is in it all the time is listed, though perhaps twice; what comes or goes meanwhile may be missed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import redis

from runtime.broker.connection import translated
from runtime.buckets import entry
from runtime.buckets.documents import CLEARED, Status
from runtime.buckets.entry import Entry
from runtime.buckets.watch import Watch, watches
from runtime.callers.ownership import Owners
from runtime.config.settings import Project
from runtime.errors import TundishError
from runtime.invocations.invocation import Invocation, read_many

PAGE = 100
"""About so many documents a page."""

MOST_EXAMINED = 10_000
_STEP = 1000
_SETTLED: Mapping[str, Status] = {
    "done": "completed",
    "dead": "failed",
    "removed": "removed",
    "skipped": "unwatched",
    "cleared": "unwatched",
}


class BadCursor(TundishError):
    """This cursor belongs to no list, or to a list with other filters. Begin without a cursor."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which documents: of one bucket or of all that are watched, with one status, below a prefix, of one tenant."""

    bucket: str | None = None
    status: str | None = None
    prefix: str = ""
    tenant: str | None = None

    def digest(self) -> str:
        told = json.dumps([self.bucket, self.status, self.prefix, self.tenant])
        return hashlib.sha256(told.encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Page:
    """Documents as plain dictionaries, one for each trigger that has them; `cursor` is None at the end."""

    documents: list[dict[str, Any]]
    cursor: str | None


def page(client: redis.Redis, project: Project, wanted: Wanted, cursor: str | None = None) -> Page:
    """One page of a list. Raises BadCursor, BrokerDown."""
    known = [watch for watch in watches(project) if wanted.bucket in (None, watch.trigger.bucket)]
    name, place = _anchor(cursor, wanted)
    if name:
        names = [watch.name for watch in known]
        if name not in names:  # functions.yaml has lost it since
            raise BadCursor
        known = known[names.index(name) :]
    found: list[dict[str, Any]] = []
    examined, owners = 0, Owners(project)
    with translated():
        for watch in known:
            step = PAGE
            while True:
                if len(found) >= PAGE or examined >= MOST_EXAMINED:
                    return Page(found, _cursor(watch, place, wanted))
                place, some = _read(client, watch, wanted, place, step, owners)
                found, examined = found + some, examined + step
                if not place:
                    break
                # The order is that of a hash: about as many will fit in the next step as did in this one.
                step = step if len(some) * 4 > step else min(2 * step, _STEP)
    return Page(found, None)


def _read(
    client: redis.Redis, watch: Watch, wanted: Wanted, place: int, step: int, owners: Owners
) -> tuple[int, list[dict[str, Any]]]:
    raw: Any
    match = f"{_plain(wanted.prefix)}*" if wanted.prefix else None
    place, raw = client.hscan(watch.ledger, place, match=match, count=step)
    known = {key.decode(errors="replace"): found for key, packed in raw.items() if (found := entry.read(packed))}
    if wanted.tenant is not None:
        bucket = watch.trigger.bucket
        known = {key: found for key, found in known.items() if owners.of(bucket, key) == wanted.tenant}
    if wanted.status not in (None, "pending", "processing"):
        known = {key: found for key, found in known.items() if _status(found) == wanted.status}
    asked = [found.invocation for found in known.values() if found.state == "pending" and found.invocation]
    records = read_many(client, asked) if asked else {}
    told = [_told(watch, key, found, records.get(found.invocation)) for key, found in sorted(known.items())]
    return place, [one for one in told if wanted.status in (None, one["status"])]


def _status(found: Entry, record: Invocation | None = None) -> Status:
    if found.state == "pending":
        return "processing" if record is not None and record.state == "running" else "pending"
    return "pending" if found.again else _SETTLED[found.state]


def _told(watch: Watch, key: str, found: Entry, record: Invocation | None) -> dict[str, Any]:
    return {
        "bucket": watch.trigger.bucket,
        "key": key,
        "status": _status(found, record),
        "reason": _reason(found),
        "notes": [note.encode(errors="replace").decode() for note in found.notes],
        "etag": found.etag or None,
        "size": found.size,
        "event": found.event,
        "seq": found.seq,
        "function": watch.function.name,
        "trigger": watch.name,
        "index": watch.trigger.index,
        "invocation": found.invocation or None,
        "processed_at": found.at if found.state in ("done", "dead", "removed") else None,
    }


def _reason(found: Entry) -> str | None:
    if found.state == "cleared":
        return CLEARED
    return None if found.notes else found.reason.encode(errors="replace").decode() or None


def _plain(prefix: str) -> str:
    """A prefix whose characters mean nothing but themselves in a pattern of Redis."""
    return re.sub(r"([\\*?\[\]^-])", r"\\\1", prefix)


def _cursor(watch: Watch, place: int, wanted: Wanted) -> str:
    told = json.dumps([watch.name, place, wanted.digest()], separators=(",", ":"))
    return base64.urlsafe_b64encode(told.encode()).decode().rstrip("=")


def _anchor(cursor: str | None, wanted: Wanted) -> tuple[str, int]:
    if cursor is None:
        return "", 0
    try:
        name, place, digest = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        anchor = str(name), int(place)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise BadCursor from error
    if digest != wanted.digest() or not 0 <= anchor[1] < 2**64:
        raise BadCursor
    return anchor
