"""Celery's prefork pool, which here notices at once that a child has died, and hands jobs out at once."""

from __future__ import annotations

import functools
import os
import pickle
import select
import struct
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from billiard import pool
from billiard.pool import ACK, EX_OK, EX_RECYCLE, TASK
from celery.concurrency import asynpool, prefork
from celery.concurrency.asynpool import AsynPool
from celery.exceptions import TaskRevokedError

from runtime.attempts.taking import Begun
from runtime.worker import short_way
from runtime.worker.poller import Readers
from runtime.worker.pool_process import PoolProcess

_AGAIN_SECONDS = 0.02
_TRIES = 50
_ORDERLY = (EX_OK, EX_RECYCLE)
"""How a child ends between two jobs: what it had not read was not begun."""


Payload = tuple[bytes, bytes, int]
"""A job as it is written to a process: the length that goes before it, the job, its length."""


class Ahead(NamedTuple):
    """A call that was written to a process, and of which Celery has yet to hear."""

    begun: tuple[Any, ...]
    number: int
    """Of the job that it will be."""
    payload: Payload
    process: Any


class Results(asynpool.ResultHandler):  # type: ignore[misc]
    """Reads what processes say, and tells the system of their pipes only when something has changed."""

    def _make_process_result(self, hub: Any) -> Any:
        return super()._make_process_result(Readers(hub))


class WatchfulPool(AsynPool):  # type: ignore[misc]
    """A dying child closes its pipes a moment before its exit code can be had.

    Celery takes the closed pipe for its one sign, finds the child alive, and looks again only after five seconds.
    Until then the slot stays empty, and a call that was written to the dead child waits with it.

    A job for which a process is idle is written to it at once. Celery asks its event loop first whether that pipe has
    room, which takes a turn of the loop, and a process that waits for its next job has room.

    A job that was written to a child that was killed is lost with it. Celery gives it to another child where it has
    not heard that the first one accepted it; but that word may have been lost, and the attempt would run twice.

    A call on the short way that is written to an idle process is accepted with that: the process does not say it
    (runtime/worker/pool_process.py), and nobody wakes up for the word. Where processes are recycled it is said as ever,
    for one that is leaving does not read what it is given.
    """

    Worker = PoolProcess
    ResultHandler = Results
    _write: Callable[[list[int]], None] | None = None
    _quick_put: Callable[[Any], None]
    on_poll_start: Callable[[], None]
    _watches = True
    """The event loop may be looking for room in pipes."""
    _ahead: Ahead | None = None

    def _create_write_handlers(self, hub: Any, *arguments: Any, **options: Any) -> None:
        super()._create_write_handlers(hub, *arguments, **options)
        keep, self._write, look = self._quick_put, hub.consolidate_callback, self.on_poll_start

        def put(job: Any) -> None:
            if not self._write_accepted(job):
                keep(job)
                self._write_now()

        def look_for_room() -> None:
            """Only for what could not be written at once, and once more when it has been."""
            watches, self._watches = self._watches, bool(self.outbound_buffer)
            if watches or self._watches:
                look()

        self._quick_put, self.on_poll_start = put, look_for_room

    def on_job_ready(self, job: Any, i: Any, obj: Any, inqW_fd: Any) -> None:  # noqa: N803 - billiard's own name
        super().on_job_ready(job, i, obj, inqW_fd)
        self._write_now()

    def _write_now(self) -> None:
        if not self.outbound_buffer or not self._write:
            return
        idle = self._idle()
        while idle and self.outbound_buffer and self._write_small(idle[0], self.outbound_buffer[0]):
            self.outbound_buffer.popleft()
            del idle[0]
        if idle and self.outbound_buffer:
            self._write(idle)

    def _idle(self) -> list[int]:
        """Pipes of processes that wait for their next job."""
        return [fd for fd in self._all_inqueues if fd not in self._busy_workers and fd not in self._active_writes]

    def _write_accepted(self, task: Any) -> bool:
        """Write a call on the short way, as Celery is to pickle it, to an idle process and count it as accepted. False:
        it goes another way."""
        _, (number, _, target, arguments, named) = task
        if target is not short_way.run:
            return False
        job, ahead, self._ahead = self._cache[number], self._ahead, None
        if ahead is not None and ahead.begun == arguments[1].get("begun"):
            process, job._payload = ahead.process, ahead.payload
            job._job = ahead.number
            self._cache[ahead.number], number = self._cache.pop(number), ahead.number
        else:
            fd = self._ready()
            process = self._fileno_to_inq.get(fd)
            job._payload = _payload(number, short_way.run_accepted, arguments, named)
            if not self._write_payload(fd, job._payload):
                return False
        job._scheduled_for = job._write_to = process
        self._result_handler.state_handlers[ACK](number, None, time.monotonic(), process.pid, None)
        return True

    def write_ahead(self, begun: Begun, raw: bytes) -> None:
        """Write a call that was just taken to an idle process: the process begins while this one makes what Celery
        knows of a call, and hands it over (runtime/worker/channel.py). Where there is none nothing has happened.

        What Celery refuses after that has no job: what its process says then is not heard, and its record is right.
        """
        fd = self._ready()
        if fd < 0 or self._putlock.value <= 0 or len(raw) > select.PIPE_BUF:
            return
        number, parts = next(pool.job_counter), tuple(begun)
        payload = _payload(number, short_way.run_ahead, (parts, raw), {})
        if self._write_payload(fd, payload):
            self._ahead = Ahead(parts, number, payload, self._fileno_to_inq[fd])

    def _ready(self) -> int:
        """The pipe of an idle process that reads whatever comes next; -1: there is none, or something comes before."""
        if self.outbound_buffer or self._maxtasksperchild or self._max_memory_per_child:
            return -1
        fd = next(iter(self._idle()), -1)
        process = self._fileno_to_inq.get(fd)
        return fd if process is not None and not process._controlled_termination else -1

    def _write_small(self, fd: int, job: Any) -> bool:
        """Write a job that a pipe takes as a whole or not at all. False: it is none, or there is no room."""
        if job._accepted or not self._write_payload(fd, job._payload):
            return False
        job._scheduled_for = job._write_to = self._fileno_to_inq[fd]
        return True

    def _write_payload(self, fd: int, payload: Payload) -> bool:
        header, body, size = payload
        process = self._fileno_to_inq.get(fd)
        if len(header) + size > select.PIPE_BUF or process is None:
            return False
        try:
            os.write(fd, b"".join((header, body)))
        except OSError:  # Celery's own way sees what it is
            return False
        self._busy_workers.add(fd)
        self.write_stats[process.index] += 1
        return True

    def flush(self) -> None:
        """The consumer closes. Celery forgets jobs of whose processes it has not heard yet, and waits half a minute for
        these processes at its end. What was written to one is run by it: its word that it accepted is on its way, and
        its end must be heard."""
        for job in list(self._cache.values()):
            job._accepted = bool(job._accepted or job._write_to)
        super().flush()

    def on_job_process_down(self, job: Any, pid_gone: int) -> None:
        process = job._write_to
        lost = process and not job._accepted and not process._is_alive() and process.exitcode not in _ORDERLY
        if lost:
            job._accepted = True  # so nobody puts it back
        super().on_job_process_down(job, pid_gone)
        if lost:
            self.mark_as_worker_lost(job, process.exitcode)

    def _event_process_exit(self, hub: Any, proc: Any, tries: int = _TRIES) -> None:
        super()._event_process_exit(hub, proc)
        if proc in self._pool and tries:
            hub.call_later(_AGAIN_SECONDS, functools.partial(self._event_process_exit, hub, proc, tries - 1))


def _payload(number: int, target: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]) -> Payload:
    body = pickle.dumps((TASK, (number, None, target, arguments, named)), pickle.HIGHEST_PROTOCOL)
    return struct.pack(">I", len(body)), body, len(body)


class TaskPool(prefork.TaskPool):  # type: ignore[misc]
    """What a worker's `pool` option names."""

    Pool = WatchfulPool

    def send_ahead(self, consumer: Any, begun: Begun, raw: bytes) -> None:
        """Send a call that was just taken, and is the only one here, to its process, unless it is to take Celery's way,
        or Celery may refuse it or make it wait."""
        if (
            getattr(self.app, "tundish_endings", None) is not None
            and short_way.is_open()
            and begun.id not in consumer.controller.state.revoked
            and not consumer.task_buckets.get(begun.function(), True)
        ):
            self._pool.write_ahead(begun, raw)

    def apply_async(self, target: Any, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """A call that has begun goes a shorter way than Celery's."""
        endings = getattr(self.app, "tundish_endings", None)
        if endings is None or "callback" not in options:
            return super().apply_async(target, args, kwargs, **options)
        done = options["callback"]  # a method of Celery's request
        if self.app.tundish_guard.stopping.cancelled(done.__self__):  # it had begun, and waited for a process
            done.__self__._announce_revoked("revoked", False, None, False)
            raise TaskRevokedError(done.__self__.id)
        options["callback"] = short_way.passing(done, endings, self.app.tundish_receiver.taking)
        _, task_id, request, *_ = args
        if "begun" in request:
            done.__self__.message.handed = True
            if short_way.is_open():
                target, args = short_way.run, (task_id, request, self.app.tundish_receiver.alone())
        return super().apply_async(target, args, kwargs, **options)
