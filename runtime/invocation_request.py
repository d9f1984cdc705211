"""What the worker's parent process does for an attempt whose child cannot: time limits and lost children."""

from __future__ import annotations

import contextlib
import logging
from typing import Any

import redis
from billiard.exceptions import WorkerLostError
from celery.worker.request import Request

log = logging.getLogger("tundish.task")

REQUEST = "runtime.invocation_request:InvocationRequest"


class InvocationRequest(Request):  # type: ignore[misc]
    """Celery's request; the guard that the worker has installed on the app writes into the record."""

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """The parent saw a time limit pass. The soft one raises inside the function, which records it itself."""
        if not soft:
            self._tell("timed_out", timeout)
        super().on_timeout(soft, timeout)

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        """The child is gone: give its lease up before the message goes back, so that the next child may run it."""
        error = getattr(exc_info.exception, "exc", exc_info.exception)
        if isinstance(error, WorkerLostError | SystemExit | KeyboardInterrupt):
            self._tell("lost")
        return super().on_failure(exc_info, send_failed_event, return_ok)

    def _tell(self, method: str, *arguments: Any) -> None:
        guard = getattr(self._app, "tundish_guard", None)
        if guard is None:
            return
        # When the broker is away the lease runs out by itself and the reaper does the rest.
        with contextlib.suppress(redis.RedisError):
            getattr(guard, method)(self.name, self.id, *arguments)
