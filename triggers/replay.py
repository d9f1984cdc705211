"""One replay by one trigger, a step at a time: count, then hand out page by page, and follow what is out to its end.

It changes entries of the ledger only; what is handed out, when and with what, remains the watcher's business, so a
replay obeys `in_flight`, budgets, order within a key and pauses like everything else.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterator, Sequence

import redis

from runtime.buckets.entry import Entry
from runtime.buckets.watch import Watch
from runtime.context import ObjectInfo, Store
from runtime.errors import BadInput, ObjectMissing
from runtime.index.sequence import Sequence as Numbers
from triggers.ledger import Change, Ledger
from triggers.replay_entry import standing, waits_for_its_end, wished
from triggers.replay_record import Record

log = logging.getLogger("tundish.triggers")

PAGE = 1000
WINDOW = 1000
"""So many keys are open at most: handed out, and not settled."""

LOOK_SECONDS = 1.0


class Replay:
    """One job that this process holds. `hint` asks the watcher to look at a key.

    Raises NotOurs, redis errors, BrokerDown, StoreDown and StoreDenied out of `step`; it is then of no more use, and
    another one made from its record goes on.
    """

    def __init__(
        self,
        client: redis.Redis,
        store: Store,
        ledger: Ledger,
        watch: Watch,
        record: Record,
        hint: Callable[[str], None],
    ) -> None:
        self._store, self._ledger, self._watch, self._record, self._hint = store, ledger, watch, record, hint
        self._numbers = Numbers(store, client)
        self._objects: Iterator[ObjectInfo] | None = None
        self._names: list[str] = []
        self._walked = False
        self._next_look = 0.0

    def step(self, room: int) -> float:
        """Hand out at most `room` keys, or do another small part; returns the seconds until there is more to do."""
        record = self._record
        record.hold()
        if not record.begun:
            self._begin()
        elif record.state == "counting":
            self._count()
        elif time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + LOOK_SECONDS
            self._look(list(record.open))
        elif self._walked and not self._names and not record.open:
            record.total = record.settled  # of what came and went meanwhile nobody could know
            record.save()
            log.info(
                "%s: replay %s is done: %d objects, %d failed", self._watch.name, record.id, record.total, record.failed
            )
            record.end("done")
        elif (self._walked and not self._names) or min(room, WINDOW - len(record.open)) <= 0:
            return LOOK_SECONDS
        else:
            self._hand(min(room, WINDOW - len(record.open)))
        return 0.0

    def close(self) -> None:
        self._record.release()

    def _begin(self) -> None:
        if "created" not in self._watch.trigger.events:
            self._record.end("cancelled", "the trigger asks for removed objects only (events)")
        # From here on: an invocation that is out already may have read what was there before.
        self._record.begun, self._record.seq = time.time(), self._numbers.take(self._watch.index, 1)
        self._record.save()

    def _count(self) -> None:
        names = self._page()
        if names is None:
            self._record.state, self._objects = "running", None
            log.info("%s: replay %s hands out %d objects", self._watch.name, self._record.id, self._record.total)
        else:
            self._record.total += len(self._asked(names))
        self._record.save()

    def _hand(self, room: int) -> None:
        if not self._names:
            page = self._page()
            self._walked, self._names = page is None, page or []
            return
        names, self._names = self._names[:room], self._names[room:]
        self._record.cursor = names[-1]
        names = self._asked([key for key in names if key not in self._record.open])
        # Written down before anything is wished for: what is open is looked at by whoever goes on with the job.
        self._record.save(opened=names)
        self._look(names)

    def _asked(self, names: Sequence[str]) -> list[str]:
        if not self._record.wish.only_failed:
            return list(names)
        known = self._ledger.read(names)
        return [key for key, one in zip(names, known, strict=True) if one.entry and one.entry.state == "dead"]

    def _page(self) -> list[str] | None:
        """The keys of the next page that are meant; None after the last one."""
        try:
            if self._objects is None:
                self._objects = self._left()
            if page := list(itertools.islice(self._objects, PAGE)):
                return [info.key for info in page if self._means(info)]
        except ObjectMissing:
            self._objects = iter(())
        except BadInput as error:
            self._record.end("cancelled", str(error))
        return None

    def _left(self) -> Iterator[ObjectInfo]:
        """A listing of the objects that are left; of all while they are counted."""
        wish, taken = self._record.wish, self._watch.trigger.prefix
        if not (wish.prefix.startswith(taken) or taken.startswith(wish.prefix)):
            return iter(())
        prefix = max(wish.prefix, taken, key=len)
        return self._store.list(wish.bucket, prefix, start_after=self._record.cursor)

    def _means(self, info: ObjectInfo) -> bool:
        since = int(self._record.wish.since or 0)  # some stores tell whole seconds only
        return self._watch.wants(info.key) and not self._watch.refuses(info) and info.modified >= since

    def _look(self, names: Sequence[str]) -> None:
        """Compare open keys with their entries: wish for what is untouched, count what is settled."""
        record, closed, changes = self._record, list[str](), list[Change]()
        for key, before in zip(names, self._ledger.read(names), strict=True):
            entry, handed = before.entry, record.open[key]
            found = standing(entry, record.seq, handed)
            if found == "untouched":
                changes.append(Change(key, before, wished(entry, time.time())))
            elif entry is not None and found == "under way":
                self._follow(key, entry)
            elif entry is not None:
                closed.append(key)
                record.count(key, found == "failed", entry.reason)
        if changes and not self._ledger.apply(changes):  # one has moved; the others are not held up by it
            changes = [change for change in changes if self._ledger.apply([change])]
        for change in changes:
            if change.after is not None:
                self._follow(change.key, change.after)
        if closed:
            record.save(closed=closed)

    def _follow(self, key: str, entry: Entry) -> None:
        record = self._record
        if entry.forced:
            record.open[key] = ""
            if not waits_for_its_end(entry):
                self._hint(key)
        elif not record.open[key]:
            record.open[key] = entry.etag
