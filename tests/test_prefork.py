"""A child that dies is noticed, although its pipes close before it can be waited for; an idle one gets its job."""

from __future__ import annotations

import contextlib
import os
import select
from collections import Counter, deque
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
from billiard.pool import EX_RECYCLE
from celery.concurrency.asynpool import AsynPool

from runtime.prefork import WatchfulPool


class Hub:
    def __init__(self) -> None:
        self.planned: list[Callable[[], None]] = []

    def call_later(self, _: float, callback: Callable[[], None]) -> None:
        self.planned.append(callback)

    def run(self) -> bool:
        """Do what is planned next."""
        if self.planned:
            self.planned.pop(0)()
        return bool(self.planned)


def test_it_looks_again_until_the_child_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[object] = []
    monkeypatch.setattr(AsynPool, "_event_process_exit", lambda _, hub, child: looks.append(child))
    pool, child, hub = WatchfulPool.__new__(WatchfulPool), SimpleNamespace(), Hub()
    pool._pool = [child]
    pool._event_process_exit(hub, child)
    for _ in range(3):
        assert hub.run(), "the child is still there"
    pool._pool.clear()
    assert not hub.run()
    assert len(looks) == 5


def test_it_does_not_look_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function may close the pipe of a child that lives on."""
    monkeypatch.setattr(AsynPool, "_event_process_exit", lambda *_: None)
    pool, child, hub = WatchfulPool.__new__(WatchfulPool), SimpleNamespace(), Hub()
    pool._pool = [child]
    pool._event_process_exit(hub, child)
    turns = sum(1 for _ in iter(hub.run, False))
    assert 10 < turns < 100


def job(size: int) -> SimpleNamespace:
    return SimpleNamespace(_payload=(memoryview(b"head"), memoryview(b"x" * size), size), _accepted=False)


@pytest.fixture
def pool() -> Iterator[tuple[WatchfulPool, int, list[list[int]]]]:
    """A pool with one idle process, the end of its pipe that it reads, and the pipes that Celery was asked to write."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    pool, asked = WatchfulPool.__new__(WatchfulPool), list[list[int]]()
    pool._fileno_to_inq = {writing: SimpleNamespace(index=0)}
    pool._all_inqueues, pool._busy_workers, pool._active_writes = {writing}, set(), set()
    pool.outbound_buffer, pool.write_stats, pool._write = deque(), Counter(), asked.append
    yield pool, reading, asked
    os.close(reading)
    os.close(writing)


def test_an_idle_process_gets_its_job_at_once(pool: tuple[WatchfulPool, int, list[list[int]]]) -> None:
    found, reading, asked = pool
    first, second = job(100), job(100)
    found.outbound_buffer.extend([first, second])
    found._write_now()
    assert os.read(reading, 1000) == b"head" + b"x" * 100
    assert first._write_to is first._scheduled_for is next(iter(found._fileno_to_inq.values()))
    assert list(found.outbound_buffer) == [second], "the process is busy now"
    assert not asked


def test_what_a_pipe_may_take_in_parts_goes_the_usual_way(pool: tuple[WatchfulPool, int, list[list[int]]]) -> None:
    found, reading, asked = pool
    (writing,) = found._all_inqueues
    found.outbound_buffer.append(job(select.PIPE_BUF))
    found._write_now()
    assert asked == [[writing]]
    found.outbound_buffer[0] = job(1000)
    with contextlib.suppress(BlockingIOError):  # there is no room in it
        while True:
            os.write(writing, b"x" * 100_000)
    found._write_now()
    assert asked == [[writing], [writing]]
    assert len(found.outbound_buffer) == 1
    assert not found._busy_workers
    assert os.read(reading, 1) == b"x"


@pytest.mark.parametrize(
    ("code", "accepted", "lost", "back"),
    [
        pytest.param(-9, False, 1, 0, id="killed"),
        pytest.param(-9, True, 0, 0, id="killed-later"),
        pytest.param(EX_RECYCLE, False, 0, 1, id="recycled"),
    ],
)
def test_a_job_of_a_killed_child_is_lost_and_runs_nowhere_else(code: int, accepted: bool, lost: int, back: int) -> None:
    """What was accepted Celery itself finds lost; what a child left unread when it was recycled goes to another."""
    child = SimpleNamespace(_is_alive=lambda: False, exitcode=code, dead=True)
    written = SimpleNamespace(_write_to=child, _scheduled_for=child, _accepted=accepted)
    pool, put, marked = WatchfulPool.__new__(WatchfulPool), list[object](), list[object]()
    pool._put_back = put.append
    pool.mark_as_worker_lost = lambda job, exitcode: marked.append((job, exitcode))
    pool.on_job_process_down(written, 1)
    assert marked == [(written, code)] * lost
    assert put == [written] * back
