"""One trigger on one bucket: wait → the store's truth against the ledger → batch → submit, for ever."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Protocol

import redis

from runtime.blobs import StoreBlobs
from runtime.context import ObjectInfo, Store
from runtime.deployment import Deployment
from runtime.errors import ObjectMissing
from runtime.invocations import Invocation, read_many
from runtime.stamped_store import hops
from runtime.watch import Watch
from triggers.decide import Again, Flight, Note, Submit, decide
from triggers.flags import Flags
from triggers.inbox import Inbox, Receipt
from triggers.ledger import Change, Known, Ledger
from triggers.listing import Lister
from triggers.marker import Marker
from triggers.outgoing import Outgoing, release
from triggers.refusal import refusal
from triggers.replays import Replays
from triggers.settle import settle

LOOK_AT_ONCE = 64
POLL_SECONDS = 1.0
LATE_SECONDS = 5.0
"""A change that is older than this and was not announced was not going to be."""

log = logging.getLogger("tundish.triggers")


class BucketStore(Store, Protocol):
    def ensure_bucket(self, name: str) -> None: ...
    def server_time(self, bucket: str) -> float: ...


class Pace(Protocol):
    """What wakes the triggers, as far as they need to know (triggers/sources)."""

    def rescan(self, watch: Watch) -> float:
        """Seconds between two listings of its bucket, as things stand."""
        ...

    def missed(self, bucket: str, count: int) -> None:
        """A listing has found so many changes that nothing had announced."""
        ...


class BucketWatcher:
    """Everything one process does for one trigger. Not thread-safe but for its inbox; `step` never waits long.

    Raises redis errors, BrokerDown, StoreDown and StoreDenied out of `step`; what was read stays, and the next
    step goes on. Memory is bounded: the listing rests while more than a few batches wait.
    """

    def __init__(
        self,
        client: redis.Redis,
        store: BucketStore,
        deployment: Deployment,
        watch: Watch,
        flags: Flags,
        pace: Pace,
    ) -> None:
        self.watch, self.inbox = watch, Inbox()
        self._client, self._store, self._flags, self._pace = client, store, flags, pace
        self._trigger = watch.trigger
        self._ledger = Ledger(client, watch)
        self._marker = Marker(store, watch)
        self._outgoing = Outgoing(client, store, deployment, watch, self._ledger, self.inbox.put)
        self._lister = Lister(
            client,
            store,
            self._ledger,
            watch,
            rescan=lambda: pace.rescan(watch),
            compare=self._compare,
            look=self._look_missing,
            listed=self._listed,
        )
        self._replays = Replays(client, store, self._ledger, watch, self.inbox, self._outgoing)
        self._backlog = 2 * self._trigger.in_flight * min(self._trigger.batch.max_items, 1000) + 1000
        self._retrying: set[str] = set()
        self._paused, self._lost, self._begun = False, False, 0.0
        self._anew = 0
        self._next_poll = 0.0

    @property
    def full(self) -> bool:
        """So much waits here that reading more notifications would only fill memory."""
        return not self._paused and len(self.inbox) + len(self._outgoing) > self._backlog

    def is_out(self, task_id: str) -> bool:
        return task_id in self._outgoing.out

    def prepare(self) -> None:
        """After a start or an interruption: the bucket exists, and what was missed is looked for."""
        for bucket in (self._store.bucket, self._trigger.bucket):
            self._store.ensure_bucket(bucket)
        self._marker.read()
        self._begun = self._begun or self._store.server_time(self._trigger.bucket)
        if self._marker.listed and not self._ledger.exists():
            self._lost = True
            log.error("%s: its ledger is gone from the broker; every object is handed out again", self.watch.name)
        self._lister.abandon()
        self._lister.ask()

    def close(self) -> None:
        self._lister.close()
        self._replays.close()

    def step(self) -> float:
        """One round. Returns how long, in seconds, nothing has to be done unless the inbox says so."""
        paused, before = self._flags.resting("trigger", self.watch.names), self._paused
        self._paused = paused
        if self.inbox.take_listing() or (before and not paused):
            self._lister.ask()
        if self.inbox.take_ended() or time.monotonic() >= self._next_poll:
            self._settle()
            if paused:
                self._put_off()
            self._next_poll = time.monotonic() + POLL_SECONDS
        if paused:
            return POLL_SECONDS
        for key, receipts in self._outgoing.cooled().items():
            self.inbox.put(key, receipts)
        self._look(self.inbox.take(LOOK_AT_ONCE))
        wait = self._outgoing.send(self._retrying)
        if not self.full:
            try:
                wait = min(wait, self._lister.step())
            except ObjectMissing:
                # The bucket itself is gone. An empty one in its place makes the loss visible (and held).
                self._store.ensure_bucket(self._trigger.bucket)
                self._lister.abandon()
            wait = min(wait, self._replays.step())
        return 0.0 if len(self.inbox) else wait

    def _put_off(self) -> None:
        """While it is paused nothing is asked or submitted. Hints wait, as many as there is room for; what is let
        go is found by the listing that follows a pause."""
        for key, receipts in self._outgoing.clear().items():
            self.inbox.put(key, receipts)
        self._lister.close()
        release(self.inbox.thin(self._backlog))

    def _look(self, hints: dict[str, list[Receipt]]) -> None:
        """Ask the store about each key, and do what follows."""
        names = list(hints)
        try:
            # The entries first: a truth that is younger than the entry it is compared to can only be right.
            known = self._ledger.read(names)
            flights = self._flights(known)
            for key, before in zip(names, known, strict=True):
                note = self._act(key, before, self._head(key), flights, hints[key])
                if note and not self._ledger.apply([note]):
                    continue  # somebody else was here: it goes back, and is looked at again
                if key not in self._outgoing:
                    release(hints[key])
                del hints[key]
        finally:
            for key, receipts in hints.items():  # or the store or the broker went away
                self.inbox.put(key, receipts)

    def _compare(self, page: Sequence[ObjectInfo]) -> None:
        """A page of the listing: old keys that are new here are submitted, what else differs is settled by a HEAD."""
        known = self._ledger.read([info.key for info in page])
        flights = self._flights(known)
        notes: list[Change] = []
        missed, now = 0, time.time()
        for info, before in zip(page, known, strict=True):
            if info.key in self._outgoing:
                continue
            entry = before.entry
            self._anew += entry is None
            if entry is None and not self._needs_head(info):
                note = self._act(info.key, before, info, flights, [])
                notes += [note] if note else []
                continue
            refused = refusal(self.watch, self._marker.since, entry, info)
            if decide(entry, info, _flight(before, flights), self._trigger.events, now, refused) is not None:
                self.inbox.put(info.key, [])
                missed += self._begun < info.modified < now - LATE_SECONDS and not (entry and entry.forced)
        if notes and not self._ledger.apply(notes):
            for note in notes:
                self.inbox.put(note.key, [])
        if missed and self._lister.regular:
            self._pace.missed(self._trigger.bucket, missed)

    def _needs_head(self, info: ObjectInfo) -> bool:
        """A listing tells neither type nor metadata: a HEAD says what a new object is, and whether a function wrote it.
        What was there before this process began is no loop that it could be in."""
        return bool(self._trigger.content_type) or info.modified >= self._begun - 1.0

    def _look_missing(self, names: Sequence[str]) -> None:
        self._look({key: [] for key in names})

    def _listed(self) -> None:
        """A listing was complete."""
        self._marker.note_listed()
        if self._lost:
            self._ledger.note_lost(self._anew)
            log.error("%s: the lost ledger was made anew, %d objects are handed out again", self.watch.name, self._anew)
        self._lost, self._anew = False, 0

    def _act(
        self, key: str, before: Known, found: ObjectInfo | None, flights: dict[str, Flight], receipts: list[Receipt]
    ) -> Change | None:
        """Do what the store's word on a key asks for. Returns the change of its entry that is to be written, if any."""
        entry = before.entry
        refused = refusal(self.watch, self._marker.since, entry, found) if found else None
        action = decide(entry, found, _flight(before, flights), self._trigger.events, time.time(), refused)
        if isinstance(action, Submit):
            self._outgoing.put(key, before, action, hops(found) if found else 0, receipts)
            return None
        receipts += self._outgoing.drop(key)
        if isinstance(action, Again) and entry is not None:
            return Change(key, before, replace(entry, again=True))
        if not isinstance(action, Note):
            return None
        if action.entry.state == "dead":
            log.error(
                "%s: %s/%s is not handed out: %s", self.watch.name, self._trigger.bucket, key, action.entry.reason
            )
        return Change(key, before, action.entry)

    def _head(self, key: str) -> ObjectInfo | None:
        try:
            return self._store.head(self._trigger.bucket, key)
        except ObjectMissing:
            return None

    def _flights(self, known: Iterable[Known]) -> dict[str, Flight]:
        """Where the invocations of these pending entries are; those that are not listed are gone."""
        asked = {one.entry.invocation for one in known if one.entry and one.entry.state == "pending"}
        if not asked:
            return {}
        records = read_many(self._client, asked & self._ledger.out())
        return {
            task_id: "retrying" if record and record.state == "retrying" else "out"
            for task_id, record in records.items()
        }

    def _settle(self) -> None:
        """Close the entries of batches that have ended."""
        flights = self._ledger.flights()
        self._outgoing.out = frozenset(flights)
        records = read_many(self._client, flights)
        for task_id, names in flights.items():
            record = records[task_id]
            if record is not None and not record.terminal:
                self._rest(task_id, names, record.state == "retrying")
                continue
            for _ in range(10):  # an entry may be marked `again` between reading and writing
                known = self._ledger.read(names)
                done = settle(self._trigger.bucket, task_id, self._whole(record), names, known, time.time())
                if self._ledger.apply(done.changes, landed=task_id, hints=done.hints):
                    break
            self._rest(task_id, names, retrying=False)

    def _whole(self, record: Invocation | None) -> Invocation | None:
        """A record with its result, even where that is so large that it is in the store."""
        if record is None or not record.result_ref:
            return record
        try:
            return replace(record, result_json=StoreBlobs(lambda: self._store).get(record.result_ref))
        except ObjectMissing:
            return record

    def _rest(self, task_id: str, names: Sequence[str], retrying: bool) -> None:
        """An invocation begins or ceases to wait for a retry. Newer changes of its keys do not wait with it."""
        if not retrying:
            self._retrying.discard(task_id)
        elif task_id not in self._retrying:
            self._retrying.add(task_id)
            for key, known in zip(names, self._ledger.read(names), strict=True):
                if known.entry and known.entry.again and known.entry.invocation == task_id:
                    self.inbox.put(key, [])


def _flight(known: Known, flights: dict[str, Flight]) -> Flight:
    return flights.get(known.entry.invocation, "gone") if known.entry else "gone"
