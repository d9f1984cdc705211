"""A child that dies is noticed, although its pipes close before it can be waited for; an idle one gets its job."""

from __future__ import annotations

import contextlib
import os
import pickle
import select
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
from billiard.pool import ACK, EX_RECYCLE, READY, TASK
from celery.concurrency.asynpool import AsynPool, Worker

from runtime.attempts.taking import Begun
from runtime.worker import short_way
from runtime.worker.pool_process import PoolProcess
from runtime.worker.prefork import TaskPool, WatchfulPool


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


def short(found: WatchfulPool, accepted: list[tuple[object, ...]], *, recycled: bool = False) -> tuple[object, ...]:
    """A call on the short way, and a pool that runs it; `accepted` is what Celery hears of it."""
    found._cache = {7: SimpleNamespace(_accepted=False)}
    found._maxtasksperchild, found._max_memory_per_child = 10 if recycled else None, None
    for process in found._fileno_to_inq.values():
        process.pid, process._controlled_termination = 4711, False
    found._result_handler = SimpleNamespace(state_handlers={ACK: lambda *told: accepted.append(told)})
    return TASK, (7, None, short_way.run, ("an id", {"task": "noop"}, True), {})


def test_a_call_on_the_short_way_is_accepted_when_it_is_written(
    pool: tuple[WatchfulPool, int, list[list[int]]],
) -> None:
    found, reading, _ = pool
    accepted = list[tuple[object, ...]]()
    task = short(found, accepted)
    assert found._write_accepted(task)
    kind, told = pickle.loads(os.read(reading, 10_000)[4:])  # noqa: S301
    assert (kind, told) == (TASK, (7, None, short_way.run_accepted, ("an id", {"task": "noop"}, True), {}))
    ((number, part, _, pid, _),) = accepted
    assert (number, part, pid) == (7, None, 4711)
    (process,) = found._fileno_to_inq.values()
    assert found._cache[7]._write_to is found._cache[7]._scheduled_for is process
    assert not found._write_accepted(task), "its process is busy now"


BEGUN = Begun("an id", (b"function", b"noop", b"fence", b"1", b"attempts", b"1"), 12.5)


def begun(found: WatchfulPool, accepted: list[tuple[object, ...]], free: int = 1) -> tuple[object, ...]:
    """The call as Celery hands it over, and a pool that has places for `free` jobs."""
    task = short(found, accepted)
    found._putlock = SimpleNamespace(value=free)
    return *task[:1], (7, None, short_way.run, ("an id", {"task": "noop", "begun": tuple(BEGUN)}, True), {})


def test_a_call_that_was_sent_ahead_is_not_sent_again(pool: tuple[WatchfulPool, int, list[list[int]]]) -> None:
    """Celery's job takes over the number under which the process tells of its end."""
    found, reading, _ = pool
    accepted = list[tuple[object, ...]]()
    task = begun(found, accepted)
    found.write_ahead(BEGUN, b"a message")
    _, (number, *told) = pickle.loads(os.read(reading, 10_000)[4:])  # noqa: S301
    assert told == [None, short_way.run_ahead, (tuple(BEGUN), b"a message"), {}]
    job = found._cache[7]
    assert found._write_accepted(task)
    with pytest.raises(BlockingIOError):
        os.read(reading, 1)
    assert found._cache == {number: job}
    assert job._job == number
    assert [(one[0], one[3]) for one in accepted] == [(number, 4711)]
    assert job._write_to is job._scheduled_for is next(iter(found._fileno_to_inq.values()))


def test_another_attempt_is_not_the_one_that_was_sent_ahead(pool: tuple[WatchfulPool, int, list[list[int]]]) -> None:
    """Celery refused the one that was sent; the next one of the same call is a job of its own."""
    found, reading, _ = pool
    accepted = list[tuple[object, ...]]()
    task = begun(found, accepted)
    found.write_ahead(BEGUN._replace(fields=(b"fence", b"0")), b"a message")
    os.read(reading, 10_000)
    found._busy_workers.clear()
    assert found._write_accepted(task)
    _, told = pickle.loads(os.read(reading, 10_000)[4:])  # noqa: S301
    assert told[:3] == (7, None, short_way.run_accepted)
    assert list(found._cache) == [7]


@pytest.mark.parametrize("case", ["recycled", "leaving", "waiting", "large", "no-place"])
def test_what_may_not_be_read_is_not_sent_ahead(pool: tuple[WatchfulPool, int, list[list[int]]], case: str) -> None:
    found, reading, _ = pool
    begun(found, [], free=int(case != "no-place"))
    if case == "recycled":
        found._maxtasksperchild = 10
    elif case == "leaving":
        next(iter(found._fileno_to_inq.values()))._controlled_termination = True
    elif case == "waiting":
        found.outbound_buffer.append(job(10))
    found.write_ahead(BEGUN, b"x" * (select.PIPE_BUF if case == "large" else 10))
    assert found._ahead is None
    assert not found._busy_workers
    with pytest.raises(BlockingIOError):
        os.read(reading, 1)


@pytest.mark.parametrize(
    ("case", "sent"), [("free", 1), ("revoked", 0), ("paced", 0), ("unknown", 0), ("listened", 0), ("long-way", 0)]
)
def test_what_celery_may_refuse_or_hold_is_not_sent_ahead(
    monkeypatch: pytest.MonkeyPatch, case: str, sent: int
) -> None:
    taken, told = TaskPool.__new__(TaskPool), list[tuple[Begun, bytes]]()
    taken.app = SimpleNamespace(tundish_endings=None if case == "long-way" else object())
    taken._pool = SimpleNamespace(write_ahead=lambda *given: told.append(given))
    revoked = {"an id"} if case == "revoked" else set()
    buckets = {} if case == "unknown" else {"noop": "a bucket" if case == "paced" else None}
    state = SimpleNamespace(state=SimpleNamespace(revoked=revoked))
    consumer = SimpleNamespace(controller=state, task_buckets=defaultdict(lambda: None, buckets))
    monkeypatch.setattr(short_way, "is_open", lambda: case != "listened")
    taken.send_ahead(consumer, BEGUN, b"a message")
    assert told == [(BEGUN, b"a message")] * sent


@pytest.mark.parametrize("case", ["recycled", "leaving", "waiting", "large", "gone", "long-way"])
def test_what_may_not_be_read_is_not_accepted(pool: tuple[WatchfulPool, int, list[list[int]]], case: str) -> None:
    found, reading, _ = pool
    accepted = list[tuple[object, ...]]()
    task: tuple[object, ...] = short(found, accepted, recycled=case == "recycled")
    if case == "leaving":
        next(iter(found._fileno_to_inq.values()))._controlled_termination = True
    elif case == "waiting":
        found.outbound_buffer.append(job(10))  # it goes first
    elif case == "large":
        task = TASK, (7, None, short_way.run, ("an id", {"task": "x" * select.PIPE_BUF}, True), {})
    elif case == "gone":
        found._fileno_to_inq.clear()
    elif case == "long-way":
        task = TASK, (7, None, print, (), {})
    assert not found._write_accepted(task)
    assert not accepted
    assert not found._busy_workers
    with pytest.raises(BlockingIOError):
        os.read(reading, 1)


@pytest.mark.parametrize(
    ("target", "good", "heard"),
    [
        pytest.param(short_way.run_accepted, True, [READY], id="accepted"),
        pytest.param(short_way.run_accepted, False, [READY], id="accepted-and-fails"),
        pytest.param(short_way.run_ahead, True, [READY], id="ahead"),
        pytest.param(short_way.run, True, [ACK, READY], id="short"),
        pytest.param(print, True, [ACK, READY], id="long"),
    ],
)
def test_a_process_says_nothing_of_what_counts_as_accepted(
    monkeypatch: pytest.MonkeyPatch, target: object, good: bool, heard: list[int]
) -> None:
    """Celery's loop, as far as words are concerned: it reads a job, and says two."""
    said = list[tuple[int, tuple[object, ...]]]()
    queue = SimpleNamespace(put=said.append, send_payload=lambda packed: said.append(pickle.loads(packed)))  # noqa: S301
    process = PoolProcess.__new__(PoolProcess)
    process.outq = queue
    process.wait_for_job = lambda: (TASK, (7, None, target, (), {}))

    def workloop(self: PoolProcess, *_: object, **__: object) -> None:
        number = self.wait_for_job()[1][0]
        self.outq.put((ACK, (number, None, 1.0, 4711, None)))
        self.outq.put((READY, (number, None, (good, "result"), 3)))

    monkeypatch.setattr(Worker, "workloop", workloop)
    process.workloop()
    assert [kind for kind, _ in said] == heard
    assert said[-1] == (READY, (7, None, (good, "result"), 3))


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
