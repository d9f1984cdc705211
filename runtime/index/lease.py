"""One builder of an index at a time, as a courtesy: the conditional PUT of the manifest is what decides."""

from __future__ import annotations

import time
import uuid
from types import TracebackType

import redis

from runtime import keys
from runtime.broker import translated

SECONDS = 60
_PAUSE = 0.02
_RENEW = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('EXPIRE', KEYS[1], ARGV[2]) end return 0"
_FREE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


class BuildLease:
    """Waits for the lease at most `patience` seconds, then goes on without it."""

    def __init__(self, client: redis.Redis, index: str, patience: float = SECONDS) -> None:
        self._client, self._key, self._patience = client, keys.index_build(index), patience
        self._token = uuid.uuid4().hex

    def __enter__(self) -> BuildLease:
        limit = time.monotonic() + self._patience
        with translated():
            while not self._client.set(self._key, self._token, nx=True, ex=SECONDS) and time.monotonic() < limit:
                time.sleep(_PAUSE)
        return self

    def renew(self) -> None:
        with translated():
            self._client.eval(_RENEW, 1, self._key, self._token, SECONDS)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with translated():
            self._client.eval(_FREE, 1, self._key, self._token)
