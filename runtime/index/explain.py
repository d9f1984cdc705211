"""Why an index and a bucket differ about a key: what the ledgers and the batches that wait for a build say."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any

import redis

from runtime.broker.connection import translated
from runtime.buckets.entry import Entry, read
from runtime.buckets.watch import Watch
from runtime.context import Store
from runtime.errors import CorruptBatch, ObjectMissing
from runtime.index import batches
from runtime.index.report import Finding, Kind

MOST_UNPUBLISHED = 100_000
"""Documents of batches that wait for a build which are remembered; what is beyond is only called missing."""

CLOCKS_SECONDS = 60.0
"""So far may the clocks of two hosts be apart."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A key about which index and bucket differ; an empty etag: it is not there."""

    bucket: str
    key: str
    indexed: str
    stored: str


class Explainer:
    """Tells differences that are being settled, or were refused, from those that nothing will mend."""

    def __init__(
        self,
        client: redis.Redis,
        store: Store,
        watches: Sequence[Watch],
        unpublished: Callable[[], Iterable[tuple[str, str]]],
    ) -> None:
        """`unpublished` lists the committed batches, (space, id), that the index is not made of yet."""
        self._client, self._store, self._watches = client, store, watches
        self._unpublished = unpublished
        self._waiting: dict[tuple[str, str], tuple[int, str]] = {}
        self._seen: set[tuple[str, str]] = set()
        self._looked_at = 0.0

    def look(self) -> None:
        """Remember what the batches that wait for a build will bring, or take away: of several, the newest counts."""
        self._looked_at = time.time()
        for batch in self._unpublished():
            if len(self._waiting) > MOST_UNPUBLISHED:
                return
            if batch in self._seen:
                continue
            self._seen.add(batch)
            try:
                rows = batches.read_rows(self._store, *batch)
            except (CorruptBatch, ObjectMissing):
                continue  # a build says so, and leaves it out
            for row in rows:
                change = row.seq, row.etag if row.op == "put" else ""
                place = row.bucket, row.key
                self._waiting[place] = max(change, self._waiting.get(place, change))

    def findings(self, differences: Iterable[Difference]) -> Iterator[Finding]:
        """One finding for each difference, but for what a filter of the trigger has refused."""
        for bucket, group in groupby(differences, key=lambda one: one.bucket):
            while some := list(islice(group, 1000)):
                entries = self._entries(bucket, [one.key for one in some])
                if any(self._embedded_since(entry) for told in entries for entry in told):
                    self.look()
                for one, told in zip(some, entries, strict=True):
                    finding = self._finding(one, told)
                    if finding is not None:
                        yield finding

    def _embedded_since(self, entry: Entry) -> bool:
        """Whether its batch may have been written after they were looked at."""
        return entry.state in ("done", "removed") and entry.at > self._looked_at - CLOCKS_SECONDS

    def _entries(self, bucket: str, names: list[str]) -> list[list[Entry]]:
        """The entries of each key in the ledgers of every trigger that takes it."""
        found: list[list[Entry]] = [[] for _ in names]
        for watch in self._watches:
            if watch.trigger.bucket != bucket:
                continue
            with translated():
                raw: Any = self._client.hmget(watch.ledger, names)
            for entries, value in zip(found, raw, strict=True):
                if (entry := read(value)) is not None:
                    entries.append(entry)
        return found

    def _finding(self, one: Difference, entries: Sequence[Entry]) -> Finding | None:
        if not one.indexed and any(entry.state == "skipped" and entry.etag == one.stored for entry in entries):
            return None
        for entry in entries:
            if entry.state == "pending" or entry.again or entry.forced:
                detail = f"call {entry.invocation} has it" if entry.invocation else "it waits for its call"
                return _named("pending", one, detail)
            if entry.state == "dead" and entry.etag == one.stored:
                return _named("unreadable", one, entry.reason)
        _, etag = self._waiting.get((one.bucket, one.key), (0, None))
        # What was overwritten after it was listed waits under its new etag.
        if etag is not None and etag in (one.stored, etag_now(self._store, one.bucket, one.key)):
            return _named("pending", one, "it is embedded; build_index has not published it yet")
        kind, detail = _plain(one)
        known = " and ".join(sorted({entry.state for entry in entries}))
        return _named(kind, one, f"{detail}; {f'its ledger says {known}' if known else 'no ledger knows it'}")


def etag_now(store: Store, bucket: str, key: str) -> str:
    """Of the object as it is; empty where there is none."""
    try:
        return store.head(bucket, key).etag
    except ObjectMissing:
        return ""


def _plain(one: Difference) -> tuple[Kind, str]:
    if not one.indexed:
        return "missing", f"the bucket has it with etag {one.stored}, the index does not"
    if not one.stored:
        return "extra", f"the index has it with etag {one.indexed}, the bucket does not"
    return "changed", f"the index has etag {one.indexed}, the bucket {one.stored}"


def _named(kind: Kind, one: Difference, detail: str) -> Finding:
    return Finding(kind, one.bucket, one.key, detail)
