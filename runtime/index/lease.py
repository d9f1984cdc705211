"""One builder and one compaction of an index at a time, as a courtesy: the conditional PUT of the manifest decides."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from types import TracebackType
from typing import Self

import redis

from runtime import keys
from runtime.broker.connection import translated
from runtime.errors import BrokerDown

SECONDS = 8
"""So long a lease outlives who held it: a process that was killed. A thread of the holder keeps it alive."""

PATIENCE_SECONDS = 60.0
"""So long others wait for it. A build may take longer: then they go on without it."""

ASKED_SECONDS = 60
"""So long nobody asks once more for a compaction that has not begun."""

_PAUSE = 0.02
_RENEW = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('EXPIRE', KEYS[1], ARGV[2]) end return 0"
_FREE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"
_ASK = """
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
return redis.call('SET', KEYS[2], '1', 'NX', 'EX', ARGV[1]) and 1 or 0
"""
log = logging.getLogger("tundish.index")


class BuildLease:
    """Waits for the lease at most `patience` seconds, then goes on without it: `held` says whether it was had. It is
    kept while the block runs, however long that takes."""

    def __init__(self, client: redis.Redis, index: str, patience: float = PATIENCE_SECONDS) -> None:
        self._client, self._key, self._patience = client, keys.index_build(index), patience
        self._token = uuid.uuid4().hex
        self._over = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="index-lease", daemon=True)
        self.held = False

    def __enter__(self) -> Self:
        limit = time.monotonic() + self._patience
        self.take()
        while not self.held and time.monotonic() < limit:
            time.sleep(_PAUSE)
            self.take()
        if self.held:
            self._keeper.start()
        return self

    def take(self) -> None:
        """Have it if it is free."""
        with translated():
            self.held = bool(self._client.set(self._key, self._token, nx=True, ex=SECONDS))

    def renew(self) -> None:
        """Look whether it is still held, and keep it; where it ran out, it is not `held` any more."""
        with translated():
            self.held = bool(self._client.eval(_RENEW, 1, self._key, self._token, SECONDS))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._keeper.is_alive():
            self._keeper.join()
        with translated():
            self._client.eval(_FREE, 1, self._key, self._token)

    def _keep(self) -> None:
        while not self._over.wait(SECONDS / 4):
            try:
                self.renew()
            except BrokerDown as error:
                log.warning("The lease of a build or compaction may run out: %s", error)


class RemovalLease(BuildLease):
    """Held by who removes what no version needs, and by who makes an older version the current one: never by both. A
    build has no part in it, so that nobody waits for a long one to get back to a version that was good."""

    def __init__(self, client: redis.Redis, index: str, patience: float) -> None:
        super().__init__(client, index, patience)
        self._key = keys.index_removal(index)


class CompactLease(BuildLease):
    """Does not wait: who compacts already sees to it."""

    def __init__(self, client: redis.Redis, index: str) -> None:
        super().__init__(client, index, patience=0)
        self._key, self._asked = keys.index_compact(index), keys.index_compact_asked(index)

    def __enter__(self) -> Self:
        super().__enter__()
        if self.held:
            with translated():
                self._client.delete(self._asked)  # what comes from now on may ask again
        return self


def ask(client: redis.Redis, index: str) -> bool:
    """Whether the caller is the one who should ask for a compaction: nobody compacts, and nobody has asked just now."""
    with translated():
        return bool(client.eval(_ASK, 2, keys.index_compact(index), keys.index_compact_asked(index), ASKED_SECONDS))
