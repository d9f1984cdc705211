"""Celery's prefork pool, which here notices at once that a child has died."""

from __future__ import annotations

import functools
from typing import Any

from celery.concurrency import prefork
from celery.concurrency.asynpool import AsynPool

_AGAIN_SECONDS = 0.02
_TRIES = 50


class WatchfulPool(AsynPool):  # type: ignore[misc]
    """A dying child closes its pipes a moment before its exit code can be had.

    Celery takes the closed pipe for its one sign, finds the child alive, and looks again only after five seconds.
    Until then the slot stays empty, and a call that was written to the dead child waits with it.
    """

    def _event_process_exit(self, hub: Any, proc: Any, tries: int = _TRIES) -> None:
        super()._event_process_exit(hub, proc)
        if proc in self._pool and tries:
            hub.call_later(_AGAIN_SECONDS, functools.partial(self._event_process_exit, hub, proc, tries - 1))


class TaskPool(prefork.TaskPool):  # type: ignore[misc]
    """What a worker's `pool` option names."""

    Pool = WatchfulPool
