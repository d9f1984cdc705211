"""A warm parent and its shifts: real processes that do nothing but say who they are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.workers import until

# A shift writes what it does into a file, and ends with the code in a file `endN`, or by SIGTERM when its work is done
# (a file `busyN` keeps it).
PROGRAM = """
import os, pathlib, signal, sys, time
from runtime.worker.shifts import Shifts

folder = pathlib.Path(sys.argv[1])

def work(number, ready):
    asked = []
    signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
    if (folder / "broken").exists():
        return 3
    (folder / "lines").open("a").write(f"started {number} {os.getpid()}\\n")
    ready()
    while not asked or (folder / f"busy{number}").exists():
        if (folder / f"end{number}").exists():
            return int((folder / f"end{number}").read_text())
        time.sleep(0.01)
    (folder / "lines").open("a").write(f"finished {number}\\n")
    return 0

def note(text):
    (folder / "told").open("a").write(text + "\\n")

if len(sys.argv) > 3:  # what happens at the second fork
    forks, fork = [], os.fork
    def second():
        forks.append(1)
        if len(forks) == 2 and sys.argv[3] == "told to end":
            os.kill(os.getpid(), signal.SIGTERM)
        elif len(forks) == 2:
            raise OSError(11, "Resource temporarily unavailable")
        return fork()
    os.fork = second

sys.exit(Shifts(work, os.environ, say=note, tell=note, steady=float(sys.argv[2])).run())
"""


class Parent:
    def __init__(self, folder: Path, process: subprocess.Popen[bytes]) -> None:
        self.folder, self.process = folder, process

    def read(self, name: str) -> list[str]:
        file = self.folder / name
        return file.read_text().splitlines() if file.exists() else []

    def pids(self) -> list[int]:
        return [int(line.split()[2]) for line in self.read("lines") if line.startswith("started")]

    def hup(self) -> None:
        self.process.send_signal(signal.SIGHUP)


@contextmanager
def parent(folder: Path, *trap: str, steady: float = 5.0) -> Iterator[Parent]:
    command = [sys.executable, "-c", PROGRAM, str(folder), str(steady), *trap]
    process = subprocess.Popen(command, start_new_session=True)
    try:
        found = Parent(folder, process)
        until(lambda: found.read("told") == ["ready 1"])
        yield found
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_new_shift_takes_over_and_the_one_before_finishes(tmp_path: Path) -> None:
    with parent(tmp_path) as found:
        (tmp_path / "busy1").touch()
        found.hup()
        until(lambda: "ready 2" in found.read("told"))
        assert not gone(found.pids()[0]), "it has something to finish"
        (tmp_path / "busy1").unlink()
        until(lambda: "finished 1" in found.read("lines"))
        found.process.terminate()
        assert found.process.wait(20) == 0
        assert "finished 2" in found.read("lines")


def test_a_new_shift_that_does_not_come_up_changes_nothing(tmp_path: Path) -> None:
    with parent(tmp_path) as found:
        (tmp_path / "broken").touch()
        found.hup()
        until(lambda: "failed 2" in found.read("told"))
        assert any("exit code 3" in line for line in found.read("told"))
        assert not gone(found.pids()[0])
        (tmp_path / "broken").unlink()
        found.hup()
        until(lambda: "ready 3" in found.read("told"))
        until(lambda: gone(found.pids()[0]))


def test_many_requests_at_once_end_with_the_newest_code(tmp_path: Path) -> None:
    with parent(tmp_path) as found:
        for _ in range(20):
            found.hup()
        until(lambda: len(found.pids()) > 1 and gone(found.pids()[-2]) and "ready 2" in found.read("told"))
        assert not gone(found.pids()[-1])
        assert found.process.poll() is None


def test_a_killed_shift_is_replaced_by_one_of_the_same_number(tmp_path: Path) -> None:
    with parent(tmp_path, steady=0.0) as found:
        os.kill(found.pids()[0], signal.SIGKILL)
        until(lambda: found.read("told").count("ready 1") == 2)
        assert any("SIGKILL" in line for line in found.read("told"))
        assert len(set(found.pids())) == 2


def test_a_shift_that_dies_at_once_ends_its_parent(tmp_path: Path) -> None:
    with parent(tmp_path, steady=3600.0) as found:
        os.kill(found.pids()[0], signal.SIGKILL)
        assert found.process.wait(20) == 128 + signal.SIGKILL


def test_one_that_leaves_on_request_ends_its_parent(tmp_path: Path) -> None:
    with parent(tmp_path) as found:
        (tmp_path / "end1").write_text("0")
        assert found.process.wait(20) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_end_of_the_parent_waits_for_what_runs(tmp_path: Path, number: signal.Signals) -> None:
    with parent(tmp_path) as found:
        (tmp_path / "busy1").touch()
        found.process.send_signal(number)
        found.hup()  # too late
        (tmp_path / "busy1").unlink()
        assert found.process.wait(20) == 0
        assert found.read("lines")[-1] == "finished 1"
        assert len(found.pids()) == 1


def test_no_shift_outlives_a_killed_parent(tmp_path: Path) -> None:
    with parent(tmp_path) as found:
        found.process.kill()
        until(lambda: gone(found.pids()[0]))


def test_an_end_that_is_asked_for_in_the_middle_of_a_fork_is_heard(tmp_path: Path) -> None:
    with parent(tmp_path, "told to end") as found:
        found.hup()
        assert found.process.wait(20) == 0
        assert {"finished 1", "finished 2"} & set(found.read("lines"))
        assert all(gone(pid) for pid in found.pids())


def test_a_fork_that_fails_ends_nobody(tmp_path: Path) -> None:
    with parent(tmp_path, "no more processes") as found:
        found.hup()
        until(lambda: "failed 2" in found.read("told"))
        assert any("Resource temporarily unavailable" in line for line in found.read("told"))
        assert not gone(found.pids()[0])
        found.hup()
        until(lambda: "ready 3" in found.read("told"))


def test_a_queue_is_served_while_an_old_shift_still_finishes(tmp_path: Path) -> None:
    """The new shift dies soon; its parent must neither leave the old one to be killed nor the queue without anybody."""
    with parent(tmp_path, steady=3600.0) as found:
        (tmp_path / "busy1").touch()
        found.hup()
        until(lambda: "ready 2" in found.read("told"))
        os.kill(found.pids()[1], signal.SIGKILL)
        until(lambda: found.read("told").count("ready 2") == 2)
        assert not gone(found.pids()[0])
        (tmp_path / "busy1").unlink()
        until(lambda: "finished 1" in found.read("lines"))
