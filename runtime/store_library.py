"""The store's client library, imported by one thread at a time: its modules import each other in a circle, and two
threads that begin at different places of it can each get a module that is half made."""

from __future__ import annotations

import os
import threading


class _Loading:
    def __init__(self) -> None:
        self._lock, self._done = threading.Lock(), False
        os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self._lock = threading.Lock()

    def __call__(self) -> None:
        """Import all of it, once."""
        if self._done:
            return
        with self._lock:
            import minio
            import minio.error  # noqa: F401

            self._done = True


load = _Loading()
