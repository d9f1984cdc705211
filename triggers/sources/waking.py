"""Who wakes the bucket triggers of one process: a source for every bucket that is watched."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable

import redis

from runtime.broker import connection as broker
from runtime.buckets.watch import Watch
from runtime.config.settings import EventSource, StoreSettings
from triggers.sources.auto import Server
from triggers.sources.base import Broken, Source
from triggers.sources.minder import Make, Minder
from triggers.sources.minio_listen import MinioListen
from triggers.sources.minio_redis import MinioRedis

log = logging.getLogger("tundish.triggers")

TICK_SECONDS = 1.0
RESCAN_WOKEN, RESCAN_POLLING = 60.0, 5.0
_OUR_OWN = "gateway"


class Waking:
    """The sources, in threads. `ask` is called with a bucket whose changes may have been missed, from any thread;
    `failed` is set when a thread has ended by an error that nobody foresaw."""

    def __init__(
        self,
        client: redis.Redis,
        store: StoreSettings,
        watches: Iterable[Watch],
        ask: Callable[[str], None],
        failed: threading.Event,
    ) -> None:
        self._failed = failed
        server = Server(store)
        self._clients: dict[str, redis.Redis] = {}
        self._minders = {
            bucket: Minder(client, bucket, source, server, self._maker(client, store, bucket, source), ask)
            for bucket, source in sources(watches).items()
        }
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        work = [("sources", self._keep), *((f"source of {one.bucket}", one.run) for one in self._minders.values())]
        for name, target in work:
            thread = threading.Thread(target=self._guarded, args=(name, target), name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self, within: float = 1.0) -> None:
        """End the sources and let another process go on. One that hangs in a read ends a few seconds later."""
        self._stop.set()
        for minder in self._minders.values():
            minder.stop()
        give_up = time.monotonic() + within
        for thread in self._threads:
            thread.join(max(0.0, give_up - time.monotonic()))
        try:
            for minder in self._minders.values():
                minder.board.release()
        except redis.RedisError as error:
            log.info("the broker is away at the end (%s); another process minds the sources in a few seconds", error)
        for client in self._clients.values():
            client.close()

    def rescan(self, watch: Watch) -> float:
        """Seconds between two listings of a trigger's bucket, as it is now."""
        if watch.trigger.rescan is not None:
            return watch.trigger.rescan
        return RESCAN_WOKEN if self._minders[watch.trigger.bucket].woken else RESCAN_POLLING

    def heard(self, bucket: str, source: str) -> None:
        """A notification about this bucket was read. Our own gateway's say nothing about the store's."""
        if source != _OUR_OWN and (minder := self._minders.get(bucket)):
            minder.board.hear()

    def missed(self, bucket: str, count: int) -> None:
        """A listing found `count` changes that no notification had announced.

        Not to be told of the first listing of a process, nor of one that `ask` led to.
        """
        if count and (minder := self._minders.get(bucket)):
            minder.missed()

    def _guarded(self, name: str, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:
            log.exception("%s: ended by an unforeseen error", name)
            self._failed.set()

    def _keep(self) -> None:
        while not self._stop.is_set():
            try:
                for minder in self._minders.values():
                    minder.tick()
            except redis.RedisError as error:
                log.debug("the sources cannot tell how they are (%s)", error)
            self._stop.wait(TICK_SECONDS)

    def _maker(self, client: redis.Redis, store: StoreSettings, bucket: str, source: EventSource) -> Make:
        def make(kind: str) -> Source | None:
            if kind == "minio_listen":
                return MinioListen(store, bucket)
            if kind == "minio_redis":
                return MinioRedis(client, self._redis(client, source.url), source.key)
            return None

        return make

    def _redis(self, client: redis.Redis, url: str) -> redis.Redis:
        """The server of a list; empty: the broker. Raises Broken. Its URL may hold a password and is not said."""
        if not url:
            return client
        if url not in self._clients:
            try:
                self._clients[url] = broker.connect(url)
            except ValueError as error:
                # Nor are the words of the error: they quote what they cannot read.
                raise Broken("The url of its source is no URL of a Redis server.", lasting=True) from error
        return self._clients[url]


def sources(watches: Iterable[Watch]) -> dict[str, EventSource]:
    """The source of every bucket. Where its triggers name several, the first that is not `auto` counts."""
    found: dict[str, EventSource] = {}
    for watch in watches:
        bucket, source = watch.trigger.bucket, watch.trigger.source
        if bucket not in found or found[bucket].kind == "auto":
            found[bucket] = source
        elif source.kind != "auto" and source != found[bucket]:
            log.warning("bucket %s: its triggers name several sources; it is %s", bucket, found[bucket].kind)
    return found
