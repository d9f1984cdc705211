"""What the worker's parent process does for an attempt whose child cannot: limits, lost children, revokes."""

from __future__ import annotations

import contextlib
import logging
import signal
from typing import Any

import redis
from billiard.exceptions import WorkerLostError
from celery.platforms import signals
from celery.worker.request import Request

log = logging.getLogger("tundish.task")

REQUEST = "runtime.invocation_request:InvocationRequest"


class InvocationRequest(Request):  # type: ignore[misc]
    """Celery's request; the keeper that the worker has installed on the app writes into the record."""

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """The parent saw a time limit pass. The soft one raises inside the function, which records it itself."""
        if not soft:
            self._tell("timed_out", timeout)
        super().on_timeout(soft, timeout)

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        """An attempt that was told to stop has not failed, however it ended; a child that is gone gives its lease up
        before the message goes back, so that the next child may run it."""
        keeper = getattr(self._app, "tundish_guard", None)
        if keeper is not None and keeper.stopping.cancelled(self) and not self._already_revoked:
            return self._announce_revoked("terminated", True, "SIGUSR1", False)
        error = getattr(exc_info.exception, "exc", exc_info.exception)
        if isinstance(error, WorkerLostError | SystemExit | KeyboardInterrupt):
            self._tell("lost")
        return super().on_failure(exc_info, send_failed_event, return_ok)

    def terminate(self, pool: Any, signal: Any = None) -> None:
        """`revoke --terminate`: a cancel like every other. SIGKILL does not ask first."""
        self._tell("terminate", at_once=_is_kill(signal))

    def _announce_revoked(self, reason: str, terminated: bool, signum: Any, expired: bool) -> None:
        self._tell("revoked")
        super()._announce_revoked(reason, terminated, signum, expired)

    def _tell(self, method: str, *arguments: Any, **options: Any) -> None:
        keeper = getattr(self._app, "tundish_guard", None)
        if keeper is None:
            return
        # When the broker is away the lease runs out by itself and the reaper does the rest.
        with contextlib.suppress(redis.RedisError):
            getattr(keeper, method)(self.name, self.id, *arguments, **options)


def _is_kill(number: Any) -> bool:
    return number is not None and signals.signum(number) == signal.SIGKILL
