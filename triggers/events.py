"""Notifications from the stream to the watchers they concern, and back as acknowledgements."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Sequence
from functools import partial

import redis

from runtime.buckets import event_letters
from triggers.bucket import BucketWatcher
from triggers.inbox import Receipt
from triggers.sources.registry import Sources
from triggers.stream import OLDEST, Notification, Stream

READ_AT_ONCE = 256
BLOCK_SECONDS = 0.5
TAKE_OVER_SECONDS = 5.0


class Events:
    """Reads hints, hands them out, acknowledges what is settled. One thread calls `step`; it raises redis errors.

    `heard` is told the bucket and the source of every notification.
    """

    def __init__(
        self,
        client: redis.Redis,
        consumer: str,
        watchers: Sequence[BucketWatcher],
        heard: Callable[[str, str], None] = lambda bucket, source: None,
    ) -> None:
        self._stream, self._watchers, self._heard = Stream(client, consumer), watchers, heard
        self._sources = Sources(partial(event_letters.keep, client))
        self._settled: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._out: set[bytes] = set()
        self._left: set[BucketWatcher] = set()
        self._cursor = OLDEST
        self._next_take_over = 0.0

    def prepare(self) -> None:
        """At start and after an interruption, in which notifications may have been lost."""
        self._stream.join()
        for watcher in self._watchers:
            watcher.inbox.ask_listing()

    def step(self) -> None:
        """One round of at most about half a second."""
        self.acknowledge()
        more = self._read_left()
        for note in self._stream.read(READ_AT_ONCE, BLOCK_SECONDS / 50 if more else BLOCK_SECONDS):
            self._deliver(note)
        if time.monotonic() >= self._next_take_over:
            notes = self._stream.take_over(READ_AT_ONCE)
            self._next_take_over = time.monotonic() + (0.0 if len(notes) >= READ_AT_ONCE else TAKE_OVER_SECONDS)
            for note in notes:
                self._deliver(note)

    def _read_left(self) -> bool:
        """Read again, a page at a time, what was left because a watcher was full; whether there is more."""
        if self._cursor == OLDEST:
            if not any(not watcher.full for watcher in self._left):
                return False
            self._left = set()
        notes, self._cursor = self._stream.mine(self._cursor, READ_AT_ONCE)
        for note in notes:
            if note.id not in self._out:
                self._deliver(note)
        return self._cursor != OLDEST

    def acknowledge(self) -> None:
        """Tell the broker what has been settled since the last call."""
        ids = [self._settled.get_nowait() for _ in range(self._settled.qsize())]
        if not ids:
            return
        try:
            self._stream.acknowledge(ids)
        except redis.RedisError:
            for entry_id in ids:
                self._settled.put(entry_id)
            raise
        self._out.difference_update(ids)

    def _deliver(self, note: Notification) -> None:
        concerned = []
        for hint in self._sources.parse(note.source, note.body):
            self._heard(hint.bucket, note.source)
            for watcher in self._watchers:
                if watcher.watch.trigger.bucket != hint.bucket:
                    continue
                if hint.kind == "folder":
                    watcher.inbox.ask_listing()
                elif watcher.watch.wants(hint.key):
                    concerned.append((watcher, hint.key))
        if not concerned:
            self._settled.put(note.id)
            return
        if full := {watcher for watcher, _ in concerned if watcher.full}:
            # It stays in the stream until there is room. Who has room already need not wait for that.
            self._left |= full
            for watcher, key in concerned:
                if watcher not in full:
                    watcher.inbox.put(key, [])
            return
        self._out.add(note.id)
        receipt = Receipt(len(concerned), lambda: self._settled.put(note.id))
        for watcher, key in concerned:
            watcher.inbox.put(key, [receipt])
