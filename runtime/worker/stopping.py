"""Ending what runs: politely first, then by an exception inside the function, at last with its process."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from billiard.pool import ApplyResult
from celery.worker import state

Step = Literal["ask", "raise", "kill"]

GRACE_SECONDS = 1.0
"""How long a function may take to see `context.should_stop()` before the soft exception is raised in it."""

PATIENCE_SECONDS = 5.0
"""How long it may then take with its `except` and `finally` blocks before its process is killed."""

log = logging.getLogger("tundish.task")


def step_after(seconds: float) -> Step:
    """What is to be done so long after a call was asked to stop."""
    if seconds < GRACE_SECONDS:
        return "ask"
    return "raise" if seconds < GRACE_SECONDS + PATIENCE_SECONDS else "kill"


@dataclass(slots=True)
class _Asked:
    request: Any
    since: float
    cancelled: bool
    done: Step = "ask"


class Stopping:
    """What this worker was told to stop. `step` belongs to one thread, the others may be called from any.

    Only a child of the prefork pool can be interrupted. In the other pools a function is asked, by
    `context.should_stop()`, and nothing more happens here.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._asked: dict[str, _Asked] = {}
        self._lock = threading.Lock()

    def ask(self, task_id: str, *, cancelled: bool = True, at_once: bool = False, in_turn: bool = True) -> None:
        """Stop a call of this worker; others are none of its business. Asking twice changes nothing.

        `cancelled` is false where the attempt has only lost its place to another one: that one writes the end.
        `at_once` kills; without `in_turn` the exception is raised now, whether the function asks or not.
        """
        request = state.requests.get(task_id)
        if request is None:
            return
        now = self._clock()
        with self._lock:
            asked = self._asked.get(task_id)
            if asked is None or asked.request is not request:
                log.info("%s[%s] is to stop", request.name, task_id)
                asked = self._asked[task_id] = _Asked(request, now, cancelled)
            if not in_turn:
                asked.since = min(asked.since, now - GRACE_SECONDS)
            if at_once:
                asked.since = min(asked.since, now - GRACE_SECONDS - PATIENCE_SECONDS)

    def cancelled(self, request: Any) -> bool:
        """Whether this delivery was told to stop for good."""
        asked = self._asked.get(request.id)
        return asked is not None and asked.request is request and asked.cancelled

    def step(self) -> None:
        """Do what is due, and forget what has ended."""
        with self._lock:
            asked = dict(self._asked)
        for task_id, item in asked.items():
            if state.requests.get(task_id) is not item.request:
                with self._lock:
                    if self._asked.get(task_id) is item:
                        del self._asked[task_id]
                continue
            step = step_after(self._clock() - item.since)
            if step != item.done and _interrupt(item.request, step):
                item.done = step


def _interrupt(request: Any, step: Step) -> bool:
    """Raise in the child that runs a request, or kill it. False: it runs in no child, or not yet, or no longer."""
    reference = request._apply_result
    job = reference() if reference else None
    if not isinstance(job, ApplyResult):
        return False
    # The pool takes this lock before it believes a result, and only then gives the child its next call: under it the
    # signal cannot meet another call.
    with job._mutex:
        process = job._write_to
        if job.ready() or not job.accepted() or process is None:
            return False
        if step == "kill":
            log.warning("%s[%s] does not stop; its process is killed", request.name, request.id)
            # The pool is to take this death for an end that was wanted.
            process._controlled_termination = process._job_terminated = True
        try:
            os.kill(process.pid, signal.SIGKILL if step == "kill" else signal.SIGUSR1)
        except ProcessLookupError:
            return False
    return True
