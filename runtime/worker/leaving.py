"""A worker whose time to stop is over: it hears SIGUSR2 of the process that looks after it (shifts.py)."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from typing import Protocol

from runtime.system.grace import TIME_IS_OVER
from runtime.worker.stopping import PATIENCE_SECONDS

_LOOK_SECONDS = 0.05


class Handing(Protocol):
    """What the keeper of a worker can do about what it runs."""

    def hand_back(self) -> None: ...

    def busy(self) -> bool: ...

    def stop(self) -> None: ...


class Leaving:
    """Listens from `listen` on, in the main thread's name. A pool that cannot interrupt functions dies with them."""

    def __init__(self, keeper: Handing) -> None:
        self._keeper = keeper
        self._over = threading.Event()

    def listen(self) -> None:
        with contextlib.suppress(ValueError):  # not in the main thread
            signal.signal(TIME_IS_OVER, lambda *_: self._over.set())
            threading.Thread(target=self._run, name="leaving", daemon=True).start()

    def _run(self) -> None:
        self._over.wait()
        self._keeper.hand_back()
        until = time.monotonic() + PATIENCE_SECONDS + 1.0
        while self._keeper.busy():
            if time.monotonic() > until:
                self._keeper.stop()
                os._exit(0)  # what still runs here counts for nothing, and cannot be stopped otherwise
            time.sleep(_LOOK_SECONDS)
