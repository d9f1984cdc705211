"""One trigger on one bucket: wait → the store's truth against the ledger → batch → submit, for ever."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import redis

from runtime.buckets.watch import Watch
from runtime.context import ObjectInfo, Store
from runtime.deployment.deployment import Deployment
from runtime.errors import BadInput, ObjectMissing, StoreDenied
from runtime.store.stamped import hops, trace
from triggers.decide import Again, Flight, Note, Submit, decide
from triggers.flags import Flags
from triggers.flights import Flights, flight_of
from triggers.inbox import Inbox, Receipt
from triggers.ledger import Change, Known, Ledger
from triggers.listing import Lister
from triggers.lost import Losses
from triggers.marker import Marker
from triggers.outgoing import Outgoing, release
from triggers.refusal import refusal
from triggers.replays import Replays

LOOK_AT_ONCE = 64
POLL_SECONDS = 1.0
WORD_SECONDS = 60.0
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
        self._losses = Losses(self._ledger, self._marker, watch.name)
        self._outgoing = Outgoing(client, store, deployment, watch, self._ledger, self.inbox.put)
        self._lister = Lister(
            client,
            store,
            self._ledger,
            watch,
            rescan=lambda: pace.rescan(watch),
            compare=self._compare,
            look=self._look_missing,
            begins=self._losses.begins,
            lasted=self._losses.lasted,
            listed=self._losses.listed,
        )
        self._replays = Replays(client, store, self._ledger, watch, self.inbox, self._outgoing)
        self._backlog = 2 * self._trigger.in_flight * min(self._trigger.batch.max_items, 1000) + 1000
        self._flights = Flights(client, store, watch, self._ledger, self.inbox)
        self._paused, self._begun = False, 0.0
        self._next_poll = self._next_word = 0.0

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
            self._outgoing.out = self._flights.settle()
            if paused:
                self._put_off()
            self._next_poll = time.monotonic() + POLL_SECONDS
        if paused:
            return POLL_SECONDS
        for key, receipts in self._outgoing.cooled().items():
            self.inbox.put(key, receipts)
        self._look(self.inbox.take(LOOK_AT_ONCE))
        wait = self._outgoing.send(self._flights.retrying)
        if not self.full:
            try:
                wait = min(wait, self._lister.step())
            except ObjectMissing:
                # The bucket itself is gone. An empty one in its place makes the loss visible (and held).
                self._store.ensure_bucket(self._trigger.bucket)
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
            flights = self._flights.of(known)
            for key, before in zip(names, known, strict=True):
                try:
                    found = self._head(key)
                except (BadInput, StoreDenied) as error:
                    self._pass_over(key, error)
                    release(hints.pop(key))
                    continue
                note = self._act(key, before, found, flights, hints[key])
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
        flights = self._flights.of(known)
        notes: list[Change] = []
        missed, now = 0, time.time()
        for info, before in zip(page, known, strict=True):
            if info.key in self._outgoing:
                continue
            entry = before.entry
            if entry is None and not self._needs_head(info):
                note = self._act(info.key, before, info, flights, [])
                notes += [note] if note else []
                continue
            refused = refusal(self.watch, self._since, entry, info)
            if decide(entry, info, flight_of(before, flights), self._trigger.events, now, refused) is not None:
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

    def _act(
        self, key: str, before: Known, found: ObjectInfo | None, flights: dict[str, Flight], receipts: list[Receipt]
    ) -> Change | None:
        """Do what the store's word on a key asks for. Returns the change of its entry that is to be written, if any."""
        entry = before.entry
        refused = refusal(self.watch, self._since, entry, found) if found else None
        action = decide(entry, found, flight_of(before, flights), self._trigger.events, time.time(), refused)
        if isinstance(action, Submit):
            written = (hops(found), trace(found)) if found else (0, None)
            self._outgoing.put(key, before, action, *written, receipts)
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

    @property
    def _since(self) -> float:
        """From when on an unknown object counts as new, however old it says it is: a rename keeps its time."""
        return 0.0 if self._marker.listed and not self._losses.lost else self._marker.since

    def _head(self, key: str) -> ObjectInfo | None:
        try:
            return self._store.head(self._trigger.bucket, key)
        except ObjectMissing:
            return None

    def _pass_over(self, key: str, error: Exception) -> None:
        """The store does not tell what one object is (it has a key of its own, or a policy): that holds up no other.
        The next listing that finds it asks again."""
        self._store.server_time(self._trigger.bucket)  # raises where nothing is told
        if time.monotonic() >= self._next_word:
            self._next_word = time.monotonic() + WORD_SECONDS
            log.error("%s: the store does not tell of some objects, which are left out: %s", self.watch.name, error)
