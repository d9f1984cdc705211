"""What Celery programs see of our records: `app.AsyncResult(id)` answers for every invocation, however it came."""

from __future__ import annotations

import builtins
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import redis
from celery import exceptions, states
from celery.backends.base import SyncBackendMixin
from celery.backends.redis import RedisBackend, SentinelBackend
from celery.utils.serialization import create_exception_cls
from kombu.utils.objects import cached_property

from runtime import keys
from runtime.broker.connection import connect
from runtime.errors import BrokerDown, TundishError
from runtime.invocations.invocation import Invocation, read

_PAUSES = (0.005, 0.25)
"""First and longest pause between two looks at a record that is waited for, in seconds."""

_OUTAGE_SECONDS = 60.0
"""How long a program that waits for a result goes on when the broker is away."""


class RecordBackend(SyncBackendMixin, RedisBackend):  # type: ignore[misc]
    """Reads an invocation's record, and Celery's own entry where there is none.

    The worker writes Celery's entries too, for messages of other programs only: those may have a plain app of their
    own. Waiting is asking the record again: there is no subscription to leak.
    """

    supports_native_join = False

    @cached_property  # type: ignore[untyped-decorator]
    def records(self) -> redis.Redis:
        return connect(self.app.tundish_records)

    def wait_for(
        self, task_id: str, timeout: float | None = None, on_interval: Callable[[], Any] | None = None, **_: Any
    ) -> dict[str, Any]:
        """The state of an invocation that has ended. Raises celery.exceptions.TimeoutError, BrokerDown."""
        began = answered = time.monotonic()
        pause, longest = _PAUSES
        while True:
            try:
                meta: dict[str, Any] = self.get_task_meta(task_id)
                answered = time.monotonic()
                if meta["status"] in states.READY_STATES:
                    return meta
            except (redis.ConnectionError, redis.TimeoutError, BrokerDown):
                if time.monotonic() - answered > _OUTAGE_SECONDS:
                    raise
            if on_interval:
                on_interval()
            left = None if timeout is None else began + timeout - time.monotonic()
            if left is not None and left <= 0:
                raise exceptions.TimeoutError(f"{task_id} had not ended within {timeout:g} s")
            time.sleep(pause if left is None else min(pause, left))
            pause = min(longest, pause * 1.5)

    def mark_as_revoked(
        self, task_id: str, reason: str = "", request: Any = None, store_result: bool = True, state: str = "REVOKED"
    ) -> None:
        """Our own calls have their record, which the keeper ends; only another program's gets Celery's entry."""
        if store_result:
            known, foreign = self.records.hmget(keys.invocation(task_id), "state", "foreign")
            store_result = known is None or foreign is not None
        super().mark_as_revoked(task_id, reason, request=request, store_result=store_result, state=state)

    def on_task_call(self, producer: Any, task_id: str) -> None:
        """Nothing: Celery would subscribe to an answer here."""

    def get_task_meta(self, task_id: str, cache: bool = True) -> dict[str, Any]:
        """What every look at a result asks for. Raises BrokerDown."""
        found = read(self.records, task_id)
        if found is None:
            meta: dict[str, Any] = super().get_task_meta(task_id, cache)
            return meta
        return task_meta(found, self._result(found) if found.state == "succeeded" else None)

    def task_result_exists(self, task_id: str) -> bool:
        """Whether the id is known, whatever its state."""
        return read(self.records, task_id) is not None or bool(super().task_result_exists(task_id))

    def _result(self, found: Invocation) -> Any:
        if found.result_json is None and found.result_ref:
            if self.app.tundish_blobs is None:
                raise TundishError(
                    f"The result of {found.id} is large and lies in the store under {found.result_ref}, which this app "
                    "was not told about. Use runtime.celery_app, or create_app(settings, blobs=…)."
                )
            return json.loads(self.app.tundish_blobs.get(found.result_ref))
        return json.loads(found.result_json or b"null")


class SentinelRecordBackend(RecordBackend, SentinelBackend):  # type: ignore[misc]
    """The same, where Celery's own entries are kept behind Redis Sentinel."""


def task_meta(found: Invocation, result: Any) -> dict[str, Any]:
    """A record in Celery's words. `result` is what the function returned."""
    status, error = found.celery_status, found.error or {}
    if status == states.STARTED:
        result = {"hostname": found.worker, "progress": found.progress}
    elif status == states.REVOKED:
        result = exceptions.TaskRevokedError(found.stop or "revoked")
    elif status in states.EXCEPTION_STATES:
        result = exception_of(error.get("type") or found.state, error.get("message") or found.state)
    return {
        "task_id": found.id,
        "status": status,
        "result": result,
        "traceback": error.get("traceback"),
        "children": [],
        "date_done": None if found.ended is None else datetime.fromtimestamp(found.ended, UTC).isoformat(),
        "name": found.function,
        "args": [],
        "kwargs": found.arguments,
        "worker": found.worker,
        "queue": found.queue,
        "retries": max(0, found.attempts - 1),
        "parent_id": found.parent,
    }


def exception_of(name: str, message: str) -> Exception:
    """An exception of the recorded type: Python's or Celery's own, else one that is made here. No code is imported."""
    for module in (builtins, exceptions):
        known = getattr(module, name, None)
        if isinstance(known, type) and issubclass(known, Exception):
            try:
                return known(message)
            except TypeError:  # it wants more than a message
                break
    made: Exception = create_exception_cls(name, __name__)(message)
    return made
