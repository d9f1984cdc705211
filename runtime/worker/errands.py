"""What a worker's parent process must write but not wait for: its event loop serves every child."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable

import redis

from runtime.errors import TundishError

log = logging.getLogger("tundish.task")


class Errands:
    """Runs what it is given in a thread of its own, one after the other."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="errands", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Do what is left, for at most `timeout` seconds."""
        self._waiting.put(None)
        self._thread.join(timeout)

    def put(self, errand: Callable[[], object]) -> None:
        self._waiting.put(errand)

    def _run(self) -> None:
        while (errand := self._waiting.get()) is not None:
            try:
                errand()
            except (redis.RedisError, TundishError) as error:
                # The lease of what was to be written runs out, and the reaper decides in its place.
                log.warning("a worker could not write what became of a call: %s", error)
