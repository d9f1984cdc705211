"""One trigger on one bucket: wait → the store's truth against the ledger → batch → submit, for ever."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import redis

from runtime import submit
from runtime.blobs import StoreBlobs, by_reference
from runtime.context import ObjectInfo, Store
from runtime.deployment import Deployment
from runtime.documents import Entry, Watch
from runtime.errors import ObjectMissing
from runtime.index import sequence
from runtime.invocations import read_many
from triggers import batching, ledger
from triggers.decide import Again, Flight, Note, Submit, decide
from triggers.flags import Flags
from triggers.inbox import Inbox, Receipt
from triggers.ledger import Change, Known, Ledger
from triggers.listing import Lister
from triggers.settle import settle

LOOK_AT_ONCE = 64
POLL_SECONDS = 1.0
RETRYING_SHARE = 4
"""Batches that wait for a retry do not hold others up: so many times `in_flight` of them are left out of account."""


class BucketStore(Store, Protocol):
    def ensure_bucket(self, name: str) -> None: ...


@dataclass(slots=True)
class Candidate:
    """A change that waits for its batch."""

    before: Known
    action: Submit
    since: float
    receipts: list[Receipt] = field(default_factory=list)


class BucketWatcher:
    """Everything one process does for one trigger. Not thread-safe but for its inbox; `step` never waits long.

    Raises redis errors, BrokerDown, StoreDown and StoreDenied out of `step`; what was read stays, and the next
    step goes on. Memory is bounded: the listing rests while more than a few batches wait.
    """

    def __init__(
        self, client: redis.Redis, store: BucketStore, deployment: Deployment, watch: Watch, flags: Flags
    ) -> None:
        self.watch, self.inbox = watch, Inbox()
        self._client, self._store, self._deployment, self._flags = client, store, deployment, flags
        self._trigger = watch.trigger
        self._ledger = Ledger(client, watch)
        self._numbers = sequence.Sequence(store, client)
        self._lister = Lister(client, store, self._ledger, watch, compare=self._compare, look=self._look_missing)
        self._ready: dict[str, Candidate] = {}
        self._backlog = 2 * self._trigger.in_flight * min(self._trigger.batch.max_items, 1000) + 1000
        self._out: frozenset[str] = frozenset()
        self._retrying: set[str] = set()
        self._paused = False
        self._next_poll = 0.0

    @property
    def full(self) -> bool:
        """So much waits here that reading more notifications would only fill memory."""
        return not self._paused and len(self.inbox) + len(self._ready) > self._backlog

    def is_out(self, task_id: str) -> bool:
        return task_id in self._out

    def prepare(self) -> None:
        """After a start or an interruption: the bucket exists, and what was missed is looked for."""
        for bucket in (self._store.bucket, self._trigger.bucket):
            self._store.ensure_bucket(bucket)
        self._lister.abandon()
        self._lister.ask()

    def close(self) -> None:
        self._lister.close()

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
        self._look(self.inbox.take(LOOK_AT_ONCE))
        wait = self._send()
        if not self.full:
            try:
                wait = min(wait, self._lister.step())
            except ObjectMissing:
                # The bucket itself is gone. An empty one in its place makes the loss visible (and held).
                self._store.ensure_bucket(self._trigger.bucket)
                self._lister.abandon()
        return 0.0 if len(self.inbox) else wait

    def _put_off(self) -> None:
        """While it is paused nothing is asked or submitted. Hints wait, as many as there is room for; what is let
        go is found by the listing that follows a pause."""
        for key, one in self._ready.items():
            self.inbox.put(key, one.receipts)
        self._ready.clear()
        self._lister.close()
        _release(self.inbox.thin(self._backlog))

    def _look(self, hints: dict[str, list[Receipt]]) -> None:
        """Ask the store about each key, and do what follows."""
        names = list(hints)
        try:
            # The entries first: a truth that is younger than the entry it is compared to can only be right.
            known = self._ledger.read(names)
            flights = self._flights(known)
            for key, before in zip(names, known, strict=True):
                self._act(key, before, self._head(key), flights, hints[key])
                del hints[key]
        finally:
            for key, receipts in hints.items():  # the store or the broker went away: the next step looks again
                self.inbox.put(key, receipts)

    def _compare(self, page: Sequence[ObjectInfo]) -> None:
        """A page of the listing: new keys are submitted, anything else that differs is settled by a HEAD."""
        known = self._ledger.read([info.key for info in page])
        flights = self._flights(known)
        for info, before in zip(page, known, strict=True):
            if info.key in self._ready:
                continue
            if before.entry is None:
                self._act(info.key, before, info, flights, [])
            elif decide(before.entry, info, _flight(before, flights), self._trigger.events, time.time()) is not None:
                self.inbox.put(info.key, [])

    def _look_missing(self, names: Sequence[str]) -> None:
        self._look({key: [] for key in names})

    def _act(
        self, key: str, before: Known, found: ObjectInfo | None, flights: dict[str, Flight], receipts: list[Receipt]
    ) -> None:
        waiting = self._ready.get(key)
        action = decide(before.entry, found, _flight(before, flights), self._trigger.events, time.time())
        if isinstance(action, Submit):
            since = waiting.since if waiting else time.monotonic()
            self._ready[key] = Candidate(before, action, since, receipts + (waiting.receipts if waiting else []))
            return
        after = action.entry if isinstance(action, Note) else None
        if isinstance(action, Again) and before.entry is not None:
            after = replace(before.entry, again=True)
        moved = after is not None and not self._ledger.apply([Change(key, before, after)])
        if waiting:
            del self._ready[key]
            receipts = receipts + waiting.receipts
        if moved:
            self.inbox.put(key, receipts)  # somebody else was here: look again
        else:
            _release(receipts)

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

    def _send(self) -> float:
        """Submit what is ripe. Returns the seconds until the next batch is."""
        while self._ready:
            out = self._ledger.out()
            resting = len(out & self._retrying)
            waiting = (batching.Waiting(one.action.size, one.since) for one in self._ready.values())
            limit = self._trigger.in_flight + min(resting, RETRYING_SHARE * self._trigger.in_flight)
            cut = batching.cut(
                waiting,
                self._trigger.batch,
                out=max(0, len(out) - resting),
                in_flight=limit - resting,
                now=time.monotonic(),
            )
            if not cut.count:
                return POLL_SECONDS if cut.wait is None else cut.wait
            batch = dict(itertools.islice(self._ready.items(), cut.count))
            accepted = self._submit(batch, limit)
            if not accepted and len(self._ledger.out()) >= limit:
                continue  # another process has filled the last place
            for key, one in batch.items():
                del self._ready[key]
                if accepted:
                    _release(one.receipts)
                else:  # refused because an entry has moved: look again
                    self.inbox.put(key, one.receipts)
        return POLL_SECONDS

    def _submit(self, batch: dict[str, Candidate], limit: int) -> bool:
        """Record the invocation and claim its keys, in one atomic call. False: another process was first."""
        task_id, now = submit.new_id(), time.time()
        # Reserved before anything is read: a refused claim only leaves a gap.
        first = self._numbers.take(self.watch.index, len(batch))
        changes, objects = [], []
        for seq, (key, one) in enumerate(batch.items(), first):
            told = one.action
            entry = Entry("pending", told.etag, seq, told.event, told.size, task_id, at=now)
            changes.append(Change(key, one.before, entry))
            objects.append(
                {
                    "bucket": self._trigger.bucket,
                    "key": key,
                    "event": told.event,
                    "etag": told.etag or None,
                    "size": told.size if told.event == "created" else None,
                    "seq": seq,
                }
            )
        names, arguments = self._ledger.claim_arguments(task_id, limit, changes)
        call = submit.Call(self.watch.function.name, self._arguments(objects), trigger="bucket", id=task_id)
        call = by_reference(call, StoreBlobs(lambda: self._store), self.watch.function)
        self._out |= {task_id}  # before: its end may be told before the answer is here
        taken = submit.submit_with(self._client, self._deployment, call, ledger.CLAIM, names, arguments)
        return taken is not None

    def _arguments(self, objects: list[dict[str, Any]]) -> dict[str, Any]:
        deployed = self._deployment.find(self.watch.function.name)
        arguments = dict(self._trigger.arguments)
        # A function that could not be described may be mended by the time it runs: it gets everything.
        if deployed.error is not None or deployed.takes("objects"):
            arguments["objects"] = objects
        if self._trigger.index is not None and (deployed.error is not None or deployed.takes("index")):
            arguments["index"] = self._trigger.index
        return arguments

    def _settle(self) -> None:
        """Close the entries of batches that have ended."""
        flights = self._ledger.flights()
        self._out = frozenset(flights)
        records = read_many(self._client, flights)
        for task_id, names in flights.items():
            record = records[task_id]
            if record is not None and not record.terminal:
                self._rest(task_id, names, record.state == "retrying")
                continue
            for _ in range(10):  # an entry may be marked `again` between reading and writing
                known = self._ledger.read(names)
                done = settle(self._trigger.bucket, task_id, record, names, known, time.time())
                if self._ledger.apply(done.changes, landed=task_id, hints=done.hints):
                    break
            self._rest(task_id, names, retrying=False)

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


def _release(receipts: Iterable[Receipt]) -> None:
    for receipt in receipts:
        receipt.settle()
