"""What a worker counts of its own calls: its processes write ends into a pipe, and its parent adds them up.

The counts live in the parent alone, so a process that is recycled or killed takes none of them along, and no file is
left behind for each that there ever was, as with prometheus_client's multiprocess mode. A write is one system call
(about 2 µs), and atomic; the pipe is made before the first fork, so the processes of a shift that still finishes are
counted by the one that took over.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable
from copy import deepcopy
from typing import TYPE_CHECKING

import msgpack

from runtime.metrics.measures import Counts
from runtime.values.histogram import Histogram

if TYPE_CHECKING:
    from runtime.attempts.attempt import Attempt

MOST_WAITING = 10_000
"""Ends that one process keeps while the pipe is full; of more the oldest are lost. It holds some 10,000 itself."""

MOST_TYPES = 1000
"""Types of errors that are told apart: one may be made up by whoever raises it."""

_PIPE_BYTES = 2**20
_SET_SIZE = 1031  # F_SETPIPE_SZ, on Linux

Ended = Callable[["Attempt", str, str, float, str], None]
"""Told of an end: attempt, function, state, how many seconds it ran (negative: nobody knows), the type of its error."""


def nobody(attempt: Attempt, function: str, state: str, ran: float, error: str = "") -> None:
    """Counts nothing."""


class Tally:
    """`ended` is for every process of a worker, the rest for its parent. Any thread may call both."""

    def __init__(self, queue: str) -> None:
        self._queue = queue
        self._out, self._in = os.pipe()
        for end in (self._out, self._in):
            os.set_blocking(end, False)
        with contextlib.suppress(ImportError, OSError):  # a small one does, too
            import fcntl

            fcntl.fcntl(self._in, _SET_SIZE, _PIPE_BYTES)
        self._waiting: deque[bytes] = deque(maxlen=MOST_WAITING)
        self._sending = threading.Lock()
        self._unpacker = msgpack.Unpacker()
        self._lock, self._left = threading.Lock(), False
        self._counts = Counts()

    def ended(self, attempt: Attempt, function: str, state: str, ran: float, error: str = "") -> None:
        """An attempt has ended, or will be repeated. Never waits: what finds no room goes with a later one.

        No state: it was fenced off, and another attempt counts.
        """
        if not state:
            return
        queued, started = attempt.seconds("queued"), attempt.seconds("started")
        waited = max(0.0, started - queued) if started and queued else -1.0
        # Below 512 bytes, which every system writes into a pipe as a whole: names have 100 at most.
        told: bytes = msgpack.packb((function, state, error[:60], ran, waited))
        with self._sending:
            self._waiting.append(told)
            while self._waiting and self._write(self._waiting[0]):
                self._waiting.popleft()

    def forked(self) -> None:
        """In a child, which only writes: what its parent could not write is its parent's, and so is a lock it held."""
        self._waiting.clear()
        self._sending = threading.Lock()

    def counts(self) -> Counts:
        """All that has ended until now: a copy, since another thread may count the next while this one is read."""
        with self._lock:
            self._drain()
            return deepcopy(self._counts)

    def leave(self) -> None:
        """Read no more: who takes over does."""
        with self._lock:
            self._left = True

    def drain(self) -> None:
        """Make room in the pipe. To be called now and then."""
        with self._lock:
            self._drain()

    def _write(self, told: bytes) -> bool:
        try:
            os.write(self._in, told)
        except OSError:  # it is full
            return False
        return True

    def _drain(self) -> None:
        while not self._left:
            try:
                found = os.read(self._out, _PIPE_BYTES)
            except BlockingIOError:
                return
            self._unpacker.feed(found)
            for function, state, error, ran, waited in self._unpacker:
                self._add(function, state, error, ran, waited)

    def _add(self, function: str, state: str, error: str, ran: float, waited: float) -> None:
        counts, place = self._counts, (function, self._queue)
        if state == "retrying":
            counts.retries[function] += 1
        else:
            counts.ends[function, state] += 1
        if state in ("failed", "dead", "expired"):
            known = (function, error) in counts.failures or len(counts.failures) < MOST_TYPES
            counts.failures[function, error if known else "other"] += 1
        if ran >= 0:
            counts.runs.setdefault(place, Histogram()).observe(ran)
        if waited >= 0:
            counts.waits.setdefault(place, Histogram()).observe(waited)
