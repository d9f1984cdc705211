"""What runs in a process of the prefork pool: Celery's loop, which says less of calls on the short way.

Celery's process says that it has accepted a job before it runs it, and its parent wakes up for that word. A job that
was written to an idle process counts as accepted when it is written (runtime/worker/prefork.py): the word is left out.
"""

from __future__ import annotations

import os
import pickle
from typing import Any

from billiard.common import pickle_loads
from billiard.pool import ACK, READY
from celery.concurrency import asynpool

from runtime.worker import short_way


class PoolProcess(asynpool.Worker):  # type: ignore[misc]
    """The parent makes it, and the process that it forks runs it."""

    wait_for_job: Any

    def _make_recv_method(self, conn: Any) -> Any:
        """A job is read by its length, like billiard's connection does, but with nothing between the two reads."""
        if conn is not self.inq:
            return super()._make_recv_method(conn)
        fd = conn._reader.fileno()

        def received(_: float) -> tuple[bool, Any]:
            return True, pickle_loads(_read(fd, int.from_bytes(_read(fd, 4), "big")))

        return received

    def workloop(self, *arguments: Any, **options: Any) -> Any:
        wait, say, send = self.wait_for_job, self.outq.put, self.outq.send_payload
        accepted = False

        def waited() -> Any:
            nonlocal accepted
            job = wait()
            accepted = bool(job) and job[1][2] in short_way.ACCEPTED
            return job

        def said(word: Any) -> None:
            if not accepted:
                say(word)
            elif word[0] == READY and word[1][2][0]:  # nothing in it needs more than this
                send(pickle.dumps(word, pickle.HIGHEST_PROTOCOL))
            elif word[0] != ACK:
                say(word)

        self.wait_for_job, self.outq.put = waited, said
        return super().workloop(*arguments, **options)


def _read(fd: int, size: int) -> bytes:
    """So many bytes of a pipe. Raises EOFError where it was closed before."""
    found = os.read(fd, size)
    while len(found) < size:
        more = os.read(fd, size - len(found))
        if not more:
            raise EOFError
        found += more
    return found
