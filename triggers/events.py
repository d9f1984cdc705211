"""Notifications from the stream to the watchers they concern, and back as acknowledgements."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Sequence
from functools import partial

import redis

from runtime import event_letters
from triggers.bucket import BucketWatcher
from triggers.inbox import Receipt
from triggers.sources.registry import Sources
from triggers.stream import Notification, Stream

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
        self._next_take_over = 0.0

    def prepare(self) -> None:
        """At start and after an interruption, in which notifications may have been lost."""
        self._stream.join()
        for watcher in self._watchers:
            watcher.inbox.ask_listing()

    def step(self) -> None:
        """One round of at most about half a second."""
        self.acknowledge()
        if any(watcher.full for watcher in self._watchers):
            # Left in the stream for another process, or until there is room again.
            self._stream.alive()
            time.sleep(BLOCK_SECONDS / 5)
            return
        for note in self._stream.read(READ_AT_ONCE, BLOCK_SECONDS):
            self._deliver(note)
        if time.monotonic() >= self._next_take_over:
            self._next_take_over = time.monotonic() + TAKE_OVER_SECONDS
            for note in self._stream.take_over(READ_AT_ONCE):
                self._deliver(note)

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
        receipt = Receipt(len(concerned), lambda: self._settled.put(note.id))
        for watcher, key in concerned:
            watcher.inbox.put(key, [receipt])
