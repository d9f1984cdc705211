"""All that one `triggers` process does: a thread for the events, one for the ends, one for each bucket trigger."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from functools import partial

import redis

from runtime import keys
from runtime.buckets.watch import watches
from runtime.deployment.deployment import Deployment
from runtime.errors import TundishError
from triggers.bucket import BucketStore, BucketWatcher
from triggers.events import Events
from triggers.flags import Flags
from triggers.sources.waking import Waking

log = logging.getLogger("tundish.triggers")

# Ours name a cause that a person can mend; ending the process would not.
_INTERRUPTIONS = (redis.RedisError, TundishError, OSError)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0


Well = Callable[[], None]


class Triggers:
    """The threads of one configuration. A reload stops them and starts those of the next."""

    def __init__(self, client: redis.Redis, store: BucketStore, deployment: Deployment) -> None:
        self._client = client
        self.failed = threading.Event()
        """Set when a thread has ended by an error that nobody foresaw: the process must end, and be restarted."""
        flags, watched = Flags(client), watches(deployment.settings.project)
        self._waking = Waking(client, deployment.settings.store, watched, self._ask, self.failed)
        self._watchers = [BucketWatcher(client, store, deployment, watch, flags, self._waking) for watch in watched]
        consumer = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._events = Events(client, consumer, self._watchers, self._waking.heard)
        self._stop = threading.Event()
        self._troubles: dict[str, str] = {}
        self._begun: set[str] = set()
        self._threads: list[threading.Thread] = []

    @property
    def trouble(self) -> str:
        """What keeps this process from its work just now, in a sentence; empty when nothing does."""
        waiting = [name for name in self._names() if name not in self._begun and name not in self._troubles]
        return "; ".join([*self._troubles.values(), *(f"{name} has not begun" for name in waiting)])

    def start(self) -> None:
        if not self._watchers:
            log.info("no function has a bucket trigger: nothing to watch")
            return
        self._spawn("events", self._events.prepare, self._read)
        self._spawn("ends", lambda: None, self._listen)
        for watcher in self._watchers:
            self._spawn(watcher.watch.name, watcher.prepare, partial(self._watch, watcher))
        self._waking.start()

    def stop(self, within: float = 2.0) -> None:
        """Finish the step that each thread is in. What is not done is done at the next start."""
        self._stop.set()
        for watcher in self._watchers:
            watcher.inbox.wake()
        give_up = time.monotonic() + within
        self._waking.stop(within / 2)
        for thread in self._threads:
            thread.join(max(0.0, give_up - time.monotonic()))
        try:
            self._events.acknowledge()
            for watcher in self._watchers:
                watcher.close()
        except redis.RedisError as error:
            log.info("the broker is away at the end (%s); the next start finds what is left", error)

    def _ask(self, bucket: str) -> None:
        """Changes of this bucket may have been missed."""
        for watcher in self._watchers:
            if watcher.watch.trigger.bucket == bucket:
                watcher.inbox.ask_listing()

    def _names(self) -> list[str]:
        return [thread.name for thread in self._threads]

    def _spawn(self, name: str, prepare: Callable[[], None], work: Callable[[Well], None]) -> None:
        thread = threading.Thread(target=self._keep, args=(name, prepare, work), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _keep(self, name: str, prepare: Callable[[], None], work: Callable[[Well], None]) -> None:
        """Run `work` until the end; while broker or store are away, wait and try again, and say so once.

        `work` tells by its argument that it got on: a broker that is full lets everybody begin, and nobody get on.
        """
        pause = _FIRST_PAUSE

        def well() -> None:
            nonlocal pause
            pause = _FIRST_PAUSE
            if self._troubles.pop(name, None):
                log.warning("%s: goes on", name)

        try:
            while not self._stop.is_set():
                try:
                    prepare()
                    self._begun.add(name)
                    work(well)
                except _INTERRUPTIONS as error:
                    if name not in self._troubles:
                        log.warning("%s: waits. %s", name, error)
                    self._troubles[name] = f"{name} waits: {error}"
                    self._stop.wait(pause)
                    pause = min(pause * 2, _LONGEST_PAUSE)
        except Exception:
            log.exception("%s: ended by an unforeseen error", name)
            self.failed.set()

    def _read(self, well: Well) -> None:
        while not self._stop.is_set():
            self._events.step()
            well()

    def _watch(self, watcher: BucketWatcher, well: Well) -> None:
        while not self._stop.is_set():
            wait = watcher.step()
            well()
            if wait > 0:
                watcher.inbox.wait(wait)

    def _listen(self, well: Well) -> None:
        """Ends of invocations, as they are told. They only shorten the wait: the watchers also ask."""
        with self._client.pubsub(ignore_subscribe_messages=True) as channel:  # type: ignore[no-untyped-call]
            channel.subscribe(keys.ENDED_CHANNEL)
            well()
            while not self._stop.is_set():
                told = channel.get_message(timeout=0.5)
                if told is None:
                    continue
                task_id = told["data"].decode()
                for watcher in self._watchers:
                    if watcher.is_out(task_id):
                        watcher.inbox.ended()
