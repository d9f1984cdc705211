"""The store's client library and the HTTP library under it, imported by one thread at a time: their modules import each
other in circles, and two threads that begin at different places of one can each get a module that is half made.

Whoever imports a part of them inside a function calls `load` before; tests/test_store_library.py sees to it.
"""

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
            import urllib3  # noqa: F401

            self._done = True


load = _Loading()
