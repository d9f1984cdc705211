"""The short way of a call that was begun when its message was taken, through the worker's process and back.

Celery's own way stands on what a message says: it unpacks it, makes a request of it, tells the request's signals, and
tells its result backend. Here the record came with the message, the wrapper (runtime/attempts/task.py) does the rest,
and the end goes back to the parent instead of to the broker. What fails, or is to be repeated, takes Celery's way, and
so does all where somebody listens to what only Celery tells.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from celery import signals
from celery.app import trace

from runtime.attempts.attempt import Attempt
from runtime.attempts.ending import Ending
from runtime.attempts.taking import NOTHING, Begun, Taking
from runtime.worker.endings import Endings
from runtime.worker.invocation_request import request_of

Outcome = tuple[int, Any, float | None]
"""As Celery's parent process expects it: whether it failed, its result as text, and its seconds, if they are known."""


def run(task_id: str, request: dict[str, Any], alone: bool) -> Outcome:
    """In a worker's process: run the call that `request` (Celery's) has with it as begun.

    One that runs `alone` has nobody to share a write to the broker's disk with: its end is written here, and comes to
    its caller without a turn of the parent's.
    """
    begun = Begun(*request["begun"])
    return _run(begun, begun.attempt(), None if alone else [], lambda: request)


def run_accepted(task_id: str, request: dict[str, Any], alone: bool) -> Outcome:
    """The same for one that counts as accepted (runtime/worker/prefork.py): its process does not say so."""
    return run(task_id, request, alone)


def run_ahead(fields: tuple[Any, ...], raw: bytes) -> Outcome:
    """The same for one that runs alone and was sent as it was taken, before anything else was done about it: the parts
    of its beginning, and its message."""
    begun = Begun(*fields)

    def request() -> dict[str, Any]:
        message, (_, host, *_) = json.loads(raw), trace._localized
        return {**request_of(message["headers"], message["properties"], host), "begun": fields}

    return _run(begun, begun.attempt(), None, request)


ACCEPTED = (run_accepted, run_ahead)
"""What counts as accepted when it is written to a process."""


def _run(begun: Begun, attempt: Attempt, left: list[Ending] | None, request: Callable[[], dict[str, Any]]) -> Outcome:
    started, name = time.monotonic(), attempt.text("function")
    try:
        tasks, *_ = trace._localized  # of the worker's app: a function's code may have made another the current one
        tasks[name].app.tundish_runner.run_begun(begun, attempt, left)
    except Exception as error:  # noqa: BLE001 - whatever a function raises; Celery's way tells of it
        if not left:  # else its time was over when it had ended
            asked = {**request(), "raised": error}
            outcome: Outcome = trace.fast_trace_task(name, begun.id, asked, NOTHING, "", "")
            return outcome
    if not left:
        return 0, "None", None  # much of it was waiting for the disk
    return 0, left[0], time.monotonic() - started


def passing(callback: Callable[[Outcome], Any], endings: Endings, taking: Taking) -> Callable[[Outcome], Any]:
    """In the parent: around what Celery does when a call has ended, which is a method of its request."""
    name: str = callback.__self__.name  # type: ignore[attr-defined]

    def ended(outcome: Outcome) -> Any:
        failed, value, seconds = outcome
        if seconds is not None:  # Celery does not tell how long a failure took
            taking.ran(name, seconds)
        if isinstance(value, Ending):
            endings.put(value)
            value = "None"
        return callback((failed, value, seconds))

    return ended


def is_open() -> bool:
    """Whether calls may take this way: nobody listens to the signals that it does not send."""
    return not (signals.task_prerun.receivers or signals.task_postrun.receivers or signals.task_success.receivers)
