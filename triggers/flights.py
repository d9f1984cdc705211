"""The batches of one trigger that are out: where each of them is, and what its end means for its keys."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace

import redis

from runtime.buckets.watch import Watch
from runtime.context import Store
from runtime.errors import ObjectMissing
from runtime.invocations.blobs import StoreBlobs
from runtime.invocations.invocation import Invocation, read_many
from triggers.decide import Flight
from triggers.inbox import Inbox
from triggers.ledger import Known, Ledger
from triggers.settle import settle

log = logging.getLogger("tundish.triggers")


class Flights:
    """Raises redis errors, BrokerDown, StoreDown and StoreDenied. Keys that are to be looked at go to the inbox."""

    def __init__(self, client: redis.Redis, store: Store, watch: Watch, book: Ledger, inbox: Inbox) -> None:
        self._client, self._store, self._name, self._trigger = client, store, watch.name, watch.trigger
        self._ledger, self._inbox = book, inbox
        self.retrying: set[str] = set()
        """Invocations that wait for a retry."""

    def of(self, known: Iterable[Known]) -> dict[str, Flight]:
        """Where the invocations of these pending entries are; those that are not listed are gone."""
        asked = {one.entry.invocation for one in known if one.entry and one.entry.state == "pending"}
        if not asked:
            return {}
        records = read_many(self._client, asked & self._ledger.out())
        # Rows of an index carry their number, so what is late is outdone. Any other function has to be called in order.
        overtakes = self._trigger.index is not None
        return {
            task_id: "retrying" if overtakes and record and record.state == "retrying" else "out"
            for task_id, record in records.items()
        }

    def settle(self) -> frozenset[str]:
        """Close the entries of batches that have ended; the ids of all that were out."""
        flights = self._ledger.flights()
        self.retrying &= flights.keys()  # others too see them end
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
            if done.odd:
                log.warning(
                    "%s: the result of %s reports what is no object of its call (%s); write {key, reason} for each",
                    self._name,
                    task_id,
                    "; ".join(done.odd[:3]),
                )
            self._rest(task_id, names, retrying=False)
        return frozenset(flights)

    def _whole(self, record: Invocation | None) -> Invocation | None:
        """A record with its result, even where that is so large that it is in the store."""
        if record is None or not record.result_ref:
            return record
        try:
            return replace(record, result_json=StoreBlobs(lambda: self._store).get(record.result_ref))
        except ObjectMissing:  # as good as no record: its objects go once more
            return None

    def _rest(self, task_id: str, names: Sequence[str], retrying: bool) -> None:
        """An invocation begins or ceases to wait for a retry. Newer changes of its keys need perhaps not wait."""
        if not retrying:
            self.retrying.discard(task_id)
        elif task_id not in self.retrying:
            self.retrying.add(task_id)
            for key, known in zip(names, self._ledger.read(names), strict=True):
                if known.entry and known.entry.again and known.entry.invocation == task_id:
                    self._inbox.put(key, [])


def flight_of(known: Known, flights: dict[str, Flight]) -> Flight:
    """Where the invocation of one entry is."""
    return flights.get(known.entry.invocation, "gone") if known.entry else "gone"
