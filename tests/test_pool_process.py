"""How a process of the pool reads its jobs."""

from __future__ import annotations

import os
import pickle
import struct
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from billiard.pool import EX_FAILURE, TASK
from billiard.queues import _SimpleQueue

from runtime.worker.pool_process import PoolProcess

JOB: tuple[int, tuple[Any, ...]] = (TASK, (7, None, print, ("x" * 200_000,), {}))


@pytest.fixture
def pipe() -> Iterator[_SimpleQueue]:
    queue = _SimpleQueue()
    yield queue
    queue.close()


def waiting(queue: _SimpleQueue) -> Any:
    """What a process of the pool waits with."""
    process = PoolProcess.__new__(PoolProcess)
    process.inq, process._shutdown = queue, None
    return process._make_protected_receive(queue)


def test_a_job_that_comes_in_pieces_is_put_together(pipe: _SimpleQueue) -> None:
    packed = pickle.dumps(JOB)
    data = struct.pack(">I", len(packed)) + packed
    wait, fd = waiting(pipe), pipe._writer.fileno()

    def write() -> None:
        for first, last in ((0, 1), (1, 3), (3, 50), (50, len(data))):  # more than a pipe holds
            left = data[first:last]
            while left:
                left = left[os.write(fd, left) :]

    writing = threading.Thread(target=write)
    writing.start()
    assert wait() == JOB
    writing.join()


def test_only_one_job_is_read(pipe: _SimpleQueue) -> None:
    """What a process that leaves has not read is another one's."""
    wait = waiting(pipe)
    pipe.put((TASK, (1, None, print, (), {})))
    pipe.put((TASK, (2, None, print, (), {})))
    assert wait()[1][0] == 1
    assert pipe.get()[1][0] == 2


def test_a_process_leaves_when_its_parent_says_so_or_is_gone(pipe: _SimpleQueue) -> None:
    wait = waiting(pipe)
    pipe.put(None)
    with pytest.raises(SystemExit) as left:
        wait()
    assert left.value.code == EX_FAILURE
    os.write(pipe._writer.fileno(), b"\0\0")  # and it dies
    pipe._writer.close()
    with pytest.raises(SystemExit):
        wait()
