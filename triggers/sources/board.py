"""What all processes know of one bucket's source, and which of them minds it."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Callable
from typing import Any

import redis

from runtime import keys
from runtime.broker import scripts
from runtime.buckets import source_state

LOCK_SECONDS = 10.0


class Board:
    """This process's view of the hash `keys.source(bucket)`. One thread calls `sync` and `release`."""

    def __init__(self, client: redis.Redis, bucket: str) -> None:
        self.shared = source_state.decode(bucket, {})
        self._client, self._name = client, keys.source(bucket)
        self._lock, self._token = keys.lock(f"source:{bucket}"), uuid.uuid4().hex
        self._held_until = 0.0
        self._heard = self._missed = self._missed_by_any = 0.0

    @property
    def mine(self) -> bool:
        """Whether this process is the one that minds the bucket; false in time when the broker is away."""
        return time.monotonic() < self._held_until

    @property
    def heard(self) -> float:
        """When any process last heard of the store, in seconds since the epoch."""
        return max(self._heard, self.shared.heard)

    @property
    def missed(self) -> float:
        """When a listing of any process found what nobody had announced."""
        return max(self._missed, self._missed_by_any)

    def hear(self) -> None:
        self._heard = time.time()

    def miss(self) -> None:
        self._missed = time.time()

    def sync(self, state: Callable[[], dict[str, str]]) -> None:
        """Keep or take the lock, tell what is new (who minds it: also `state`), read the rest. Raises redis errors."""
        new = dict[Any, Any]()
        if self._heard > self.shared.heard:
            new["heard"] = str(self._heard)
        if self._missed > self._missed_by_any:
            new["missed"] = str(self._missed)
        if scripts.run(self._client, "lock", [self._lock], [self._token, int(LOCK_SECONDS * 1000)]):
            self._held_until = time.monotonic() + LOCK_SECONDS * 0.8
            new |= state() | {"by": f"{socket.gethostname()}:{os.getpid()}"}
        with self._client.pipeline(transaction=False) as pipe:
            if new:
                pipe.hset(self._name, mapping=new)
                pipe.expire(self._name, source_state.TTL_SECONDS)
            pipe.hgetall(self._name)
            fields = pipe.execute()[-1]
        self.shared = source_state.decode(self.shared.bucket, fields)
        self._missed_by_any = float(fields.get(b"missed", 0))

    def release(self) -> None:
        """Let another process mind the bucket now; until one does, nobody can say how it is. Raises redis errors."""
        if self.mine:
            self._held_until = 0.0
            self._client.hdel(self._name, "kind", "woken", "detail", "since", "by")
            scripts.run(self._client, "unlock", [self._lock], [self._token])
