"""What is paused, as one process knows it: all flags are read in one call, at most once a second."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

import redis

from runtime.invocations import pause

READ_SECONDS = 1.0


class Flags:
    """The flags of a second ago at most. Thread-safe. Raises BrokerDown."""

    def __init__(self, client: redis.Redis) -> None:
        self._client, self._lock = client, threading.Lock()
        self._paused: pause.Paused = {}
        self._next = 0.0

    def resting(self, kind: str, names: Iterable[str], *, anew: bool = False) -> bool:
        """Whether something is paused under any of its names; `anew` does not trust what was read before."""
        with self._lock:
            if anew or time.monotonic() >= self._next:
                self._paused = pause.paused(self._client)
                self._next = time.monotonic() + READ_SECONDS
            return any((kind, name) in self._paused for name in names)
