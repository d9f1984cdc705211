"""What a worker's processes tell their parent: counted there, whatever becomes of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from runtime.attempts.attempt import Attempt
from runtime.attempts.tally import MOST_TYPES, Tally
from runtime.host.process_tree import PROC, Meter, _all, _of_tree, _tree
from tests.system import until

ATTEMPT = Attempt("id", 1, 1, {b"queued": b"1000", b"started": b"1500"})


def in_a_child(work: Callable[[], None]) -> None:
    """Do something in a forked process, which is killed then."""
    pid = os.fork()
    if not pid:
        try:
            work()
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)


def test_what_a_child_told_is_kept_when_it_is_gone() -> None:
    tally = Tally("q")

    def work() -> None:
        tally.forked()
        tally.ended(ATTEMPT, "f", "succeeded", 0.2)
        tally.ended(ATTEMPT, "f", "retrying", 0.2, "KeyError")
        tally.ended(ATTEMPT, "f", "dead", 0.2, "KeyError")

    for _ in range(5):
        in_a_child(work)
    tally.ended(ATTEMPT, "f", "cancelled", -1.0)
    tally.ended(ATTEMPT, "f", "", 0.2)  # fenced off
    found = tally.counts()
    assert found.ends == {("f", "succeeded"): 5, ("f", "dead"): 5, ("f", "cancelled"): 1}
    assert found.failures == {("f", "KeyError"): 5}
    assert found.retries == {"f": 5}
    assert sum(found.runs["f", "q"].counts) == 15
    assert found.waits["f", "q"].total == pytest.approx(16 * 0.5)


def test_a_full_pipe_holds_nobody_up_and_loses_nothing() -> None:
    name, many = "f" * 100, 12_000
    tally = Tally("q")
    for _ in range(many):
        tally.ended(ATTEMPT, name, "succeeded", 0.2)
    assert 0 < tally.counts().ends[name, "succeeded"] < many
    for _ in range(10):
        tally.ended(ATTEMPT, "other", "succeeded", 0.2)  # what waits goes first
        tally.drain()
    assert tally.counts().ends == {(name, "succeeded"): many, ("other", "succeeded"): 10}


def test_what_is_told_is_written_whole() -> None:
    tally = Tally("q")
    tally.ended(ATTEMPT, "f" * 100, "succeeded", 0.2, "\U0001f600" * 1000)
    assert len(os.read(tally._out, 10_000)) <= 512


def test_what_was_asked_for_does_not_change_while_it_is_read() -> None:
    """A scrape goes through it in a thread of its own, and the worker counts on."""
    tally = Tally("q")
    tally.ended(ATTEMPT, "f", "failed", 0.2, "KeyError")
    found = tally.counts()
    for error in ("KeyError", "ValueError"):
        tally.ended(ATTEMPT, "f", "failed", 0.2, error)
    tally.drain()
    assert found.failures == {("f", "KeyError"): 1}
    assert sum(found.runs["f", "q"].counts) == 1
    assert tally.counts().failures == {("f", "KeyError"): 2, ("f", "ValueError"): 1}


def test_types_of_errors_are_bounded() -> None:
    tally = Tally("q")
    for number in range(MOST_TYPES + 10):
        tally.ended(ATTEMPT, "f", "failed", 0.0, f"Made{number}")
    found = tally.counts().failures
    assert len(found) <= MOST_TYPES + 1
    assert found["f", "other"] == 10


def test_the_time_of_children_that_have_ended_is_kept() -> None:
    meter = Meter()
    before = meter.read()

    def work() -> None:
        began = os.times().user
        while os.times().user - began < 0.1:
            pass

    in_a_child(work)
    after = meter.read()
    assert after.cpu_seconds - before.cpu_seconds >= 0.09
    assert after.memory_bytes > 1_000_000
    assert after.processes >= 1


@pytest.mark.skipif(not PROC.is_dir(), reason="only Linux tells of processes there")
def test_a_tree_is_the_same_however_it_is_found() -> None:
    grandchild = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"
    with subprocess.Popen([sys.executable, "-c", grandchild], stdin=subprocess.PIPE) as child:
        try:
            until(lambda: len(_of_tree(_all(), child.pid)) == 2, "both")
            assert {one.parent for one in _tree(child.pid)} == {one.parent for one in _of_tree(_all(), child.pid)}
        finally:
            child.communicate(b"\n")


@pytest.mark.skipif(not PROC.is_dir(), reason="only Linux tells of processes there")
def test_children_that_end_during_a_look_are_left_out() -> None:
    meter = Meter()
    with subprocess.Popen(["sh", "-c", "for i in $(seq 1500); do /bin/true & done; wait"]) as many:
        while many.poll() is None:
            assert meter.read().processes >= 1
