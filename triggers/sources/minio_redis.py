"""MinIO's Redis target with `format=access`: it appends an entry for every change to a list, for all its buckets.

An entry leaves the list only after it is in our stream, and only if the list still begins with what was read.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis

from runtime import keys
from runtime.broker import scripts
from triggers.sources import s3_records
from triggers.sources.base import Broken, Desk, Hint
from triggers.sources.reading import document, take

log = logging.getLogger("tundish.triggers")

AT_ONCE = 256
BLOCK_SECONDS = 2
LOCK_MS = 10_000

# Where somebody else has taken entries meanwhile, the list begins with another one and nothing is trimmed.
_TRIM = "if redis.call('LINDEX', KEYS[1], 0) == ARGV[1] then redis.call('LTRIM', KEYS[1], ARGV[2], -1) end"

_OTHER_FORMAT = (
    "{name!r} in Redis is not a list: MinIO's target has format=namespace, which keeps only the last state of a key. "
    "Set format=access (mc admin config set ALIAS notify_redis:ID format=access …), restart MinIO, and delete the "
    "key {name!r}."
)


def parse(body: bytes) -> list[Hint]:
    """One entry, `[{"Event": [record, …], "EventTime"}]`; the keys in it are query-escaped."""
    entries = document(body)
    if not isinstance(entries, list) or not entries:
        raise ValueError("it is no list of events, as the target writes them with format=access")
    return s3_records.hints([record for entry in entries for record in take(entry, "Event", kind=list)], escaped=True)


class MinioRedis:
    """Empties one list. `broker` holds the lock that lets one process at a time do so; `server` has the list."""

    def __init__(self, broker: redis.Redis, server: redis.Redis, name: str) -> None:
        self._broker, self._server, self._name = broker, server, name
        self._lock, self._token = keys.lock(f"source:list:{name}"), uuid.uuid4().hex
        self._renew_at = 0.0

    def run(self, desk: Desk) -> None:
        with self._asking():
            self._server.llen(self._name)
        desk.begun()
        try:
            while not desk.over():
                if self._alone():
                    self._step(desk)
                else:  # emptied by another one, who leaves the entries in the same stream
                    desk.wait(1.0)
        finally:
            scripts.run(self._broker, "unlock", [self._lock], [self._token])

    def _step(self, desk: Desk) -> None:
        with self._asking():
            if self._server.blmove(self._name, self._name, BLOCK_SECONDS, "LEFT", "LEFT") is None:
                return
            entries: Any = self._server.lrange(self._name, 0, AT_ONCE - 1)
            length: Any = self._server.llen(self._name) if len(entries) == AT_ONCE else 0
            if length > keys.EVENTS_CAP:
                self._server.ltrim(self._name, -AT_ONCE, -1)
                log.warning("%d notifications were waiting in the list %r; listing instead", length, self._name)
                desk.ask()
                return
        if entries:
            desk.put(entries)
            with self._asking():
                self._server.eval(_TRIM, 1, self._name, entries[0], len(entries))

    def _alone(self) -> bool:
        """Whether this process is the one that empties the list. Asked for every entry, so the broker is not."""
        if time.monotonic() >= self._renew_at:
            taken = scripts.run(self._broker, "lock", [self._lock], [self._token, LOCK_MS])
            self._renew_at = time.monotonic() + LOCK_MS / 3000 if taken else 0.0
        return self._renew_at > 0.0

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """What the list's server refuses, as Broken with what to change."""
        try:
            yield
        except redis.ResponseError as error:
            if str(error).startswith("WRONGTYPE"):
                raise Broken(_OTHER_FORMAT.format(name=self._name), lasting=True) from error
            raise Broken(f"The list {self._name!r} cannot be read ({error}). It takes Redis 6.2 or newer.") from error
        except redis.RedisError as error:
            raise Broken(f"The Redis with the list {self._name!r} does not answer ({type(error).__name__}).") from error
