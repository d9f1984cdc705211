"""What the worker's parent process does for an attempt whose child cannot: limits, lost children, revokes."""

from __future__ import annotations

import contextlib
import logging
import signal
from collections.abc import Mapping
from typing import Any

import redis
from billiard.exceptions import WorkerLostError
from celery.platforms import signals
from celery.worker.request import Request

from runtime.attempts.taking import NOTHING
from runtime.invocations.message import HEADER

log = logging.getLogger("tundish.task")

REQUEST = "runtime.worker.invocation_request:InvocationRequest"


_KEPT = ("id", "task", "root_id", "parent_id", "ignore_result", "argsrepr", "kwargsrepr", HEADER)


def request_of(headers: Mapping[str, Any], properties: Mapping[str, Any], host: str) -> dict[str, Any]:
    """What Celery is to know of a call of ours where it runs: the headers and the properties of its message, and the
    name of its worker."""
    return {
        **{name: headers[name] for name in _KEPT},
        "retries": 0,
        "reply_to": "",
        "correlation_id": headers["id"],
        "hostname": host,
        "delivery_info": {
            "exchange": "",
            "routing_key": properties["delivery_info"]["routing_key"],
            "priority": properties["priority"],
            "redelivered": headers.get("redelivered", False),
        },
    }


class InvocationRequest(Request):  # type: ignore[misc]
    """Celery's request; the keeper that the worker has installed on the app writes into the record.

    A call that has begun already (runtime/attempts/taking.py) brings its record along. Then nobody reads the body of
    its message, and little else of it goes to the process that runs it.
    """

    def __init__(self, message: Any, **options: Any) -> None:
        begun = getattr(message, "begun", None)
        if begun is None:
            super().__init__(message, **options)
            return
        headers, properties = message.headers, message.properties
        self._message, self._decoded, self._utc = message, True, True
        self._body = self._Request__payload = NOTHING
        self._content_type = self._content_encoding = self._eta = self._expires = None
        self._app, self._hostname, self._eventer = options["app"], options["hostname"], options["eventer"]
        self._task, self._on_ack, self._on_reject = options["task"], options["on_ack"], options["on_reject"]
        self._connection_errors = options["connection_errors"] or ()
        self.id, self._root_id, self._parent_id = headers["id"], headers["root_id"], headers["parent_id"]
        self._type = self.name = headers["task"]
        self.time_limits = headers["timelimit"]
        self._argsrepr, self._kwargsrepr = headers["argsrepr"], headers["kwargsrepr"]
        self._ignore_result = headers["ignore_result"]
        self._args, self._kwargs, _ = NOTHING
        self._request_dict = request_of(headers, properties, self._hostname)
        self._delivery_info = self._request_dict["delivery_info"]
        self._request_dict["begun"] = tuple(begun)

    def info(self, safe: bool = False) -> Any:
        """What `inspect active` shows. The arguments are read for it alone."""
        told = super().info(safe)
        if not safe and self._decoded and getattr(self._message, "begun", None):
            told["args"], told["kwargs"], _ = self._message._decode()
        return told

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

    def send_event(self, type: str, **fields: Any) -> None:  # noqa: A002 - Celery's own name
        eventer = self._eventer
        if not eventer or not eventer.enabled or (eventer.groups and "task" not in eventer.groups):
            return  # nobody listens to events of tasks; those of workers have a group of their own
        super().send_event(type, **fields)
        self._tell("told", type, eventer.send)

    def _tell(self, method: str, *arguments: Any, **options: Any) -> None:
        keeper = getattr(self._app, "tundish_guard", None)
        if keeper is None:
            return
        # When the broker is away the lease runs out by itself and the reaper does the rest.
        with contextlib.suppress(redis.RedisError):
            getattr(keeper, method)(self.name, self.id, *arguments, **options)


def _is_kill(number: Any) -> bool:
    return number is not None and signals.signum(number) == signal.SIGKILL
