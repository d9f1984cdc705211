"""The supervisor with real processes: restarts, order, the leash, and what is refused."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from runtime.config.auth import Access
from runtime.config.settings import Project, Settings
from runtime.errors import TundishError
from runtime.host.free_ports import Ports, listening
from runtime.processes import child
from runtime.processes.child import Spec, _together
from runtime.processes.console import Console
from runtime.processes.supervisor import Supervisor
from runtime.system import home
from runtime.system.address import AddressRefused, check_address
from tests.system import group_is_gone

PATIENT = (
    "import os, time; from runtime.host.leash import hold; hold(os.environ); print('up', flush=True); time.sleep(600)"
)


def until(condition: Callable[[], bool], what: str, within: float = 30.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen")
        time.sleep(0.02)


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z" if Path("/proc").exists() else True


def python(name: str, code: str, folder: Path, **changes: object) -> Spec:
    values: dict[str, object] = {
        "name": name,
        "argv": (sys.executable, "-c", textwrap.dedent(code)),
        "environ": dict(os.environ),
        "ready": lambda pid: True,
        "stage": 1,
        "folder": folder,
    }
    return Spec(**(values | changes))  # type: ignore[arg-type]


def supervise(direct: Callable[[Supervisor], None]) -> tuple[int, str]:
    """Run a director to its end; an assertion in it fails the test. Returns the exit code and the log."""
    output, failures = io.StringIO(), list[Exception]()

    def guarded(supervisor: Supervisor) -> None:
        try:
            direct(supervisor)
        except Exception as error:  # noqa: BLE001 - raised again in the test's own thread
            failures.append(error)
        finally:
            supervisor.stop()

    code = Supervisor(Console(output, {})).run(guarded)
    if failures:
        raise AssertionError(output.getvalue()) from failures[0]
    return code, output.getvalue()


@pytest.mark.parametrize(("free", "told"), [(3 * 2**20, True), (2**30, False)])
def test_who_ends_on_a_full_disk_is_told_with_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, told: bool
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))

    def direct(supervisor: Supervisor) -> None:
        found = supervisor.start(python("broker", PATIENT, tmp_path))
        assert supervisor.wait_ready([found], 20)
        os.kill(found.pid, signal.SIGKILL)
        until(lambda: found.state == "waiting", "its end")

    _, log = supervise(direct)
    assert "broker was ended by SIGKILL" in log
    assert (f"Only 3 MiB are free on the disk of {tmp_path}: make room" in log) is told


def test_a_killed_child_is_started_again_and_all_are_stopped_in_the_end(tmp_path: Path) -> None:
    pids: list[int] = []
    level = min(19, os.getpriority(os.PRIO_PROCESS, 0) + 3)

    def direct(supervisor: Supervisor) -> None:
        found = supervisor.start(replace(python("one", PATIENT, tmp_path), nice=level))
        assert supervisor.wait_ready([found], 20)
        pids.append(found.pid)
        os.kill(found.pid, signal.SIGKILL)
        until(lambda: found.pid != pids[0] and found.state == "ready", "a restart")
        pids.append(found.pid)

        assert os.getpriority(os.PRIO_PROCESS, found.pid) == level

    code, log = supervise(direct)
    assert code == 0
    assert "one was ended by SIGKILL; it is started again" in log
    assert not any(exists(pid) for pid in pids)


def test_nobody_waits_for_ever_when_it_can_no_longer_be_asked_who_is_ready(tmp_path: Path) -> None:
    def broken(_: int) -> bool:
        raise ImportError("half made")

    said = io.StringIO()
    supervisor = Supervisor(Console(said, {}))

    def direct(it: Supervisor) -> None:
        it.wait_ready([it.start(python("one", PATIENT, tmp_path, ready=broken))])

    assert supervisor.run(direct) == 1
    assert "ImportError: half made" in said.getvalue()


def test_what_left_on_request_stays_away(tmp_path: Path) -> None:
    def direct(supervisor: Supervisor) -> None:
        found = supervisor.start(python("one", "import time; time.sleep(1)", tmp_path))
        until(lambda: found.state == "left", "leaving")

    assert "one left on request (exit code 0) and is not started again" in supervise(direct)[1]


def test_a_program_that_ends_before_it_answers_has_not_left_on_request(tmp_path: Path) -> None:
    def direct(supervisor: Supervisor) -> None:
        found = supervisor.start(python("one", "", tmp_path, ready=lambda pid: False))
        until(lambda: found.failures >= 2, "a second try")
        assert not supervisor.wait_ready([found], 5, patient=False)

    supervise(direct)


def test_the_leftovers_of_a_killed_parent_are_killed(tmp_path: Path) -> None:
    code = """
        import pathlib, subprocess, sys, time
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        pathlib.Path(f"grandchild-{child.pid}").touch()
        time.sleep(600)
    """

    def grandchildren() -> list[int]:
        return [int(path.name.split("-")[1]) for path in tmp_path.glob("grandchild-*")]

    def direct(supervisor: Supervisor) -> None:
        found = supervisor.start(python("one", code, tmp_path))
        until(lambda: len(grandchildren()) == 1, "a grandchild")
        os.kill(found.pid, signal.SIGKILL)
        until(lambda: len(grandchildren()) == 2, "a second one")
        until(lambda: sum(map(exists, grandchildren())) == 1, "the end of the first one")

    supervise(direct)
    until(lambda: not any(map(exists, grandchildren())), "the end of the second one")


def test_a_child_that_does_not_stop_is_killed_after_its_grace(tmp_path: Path) -> None:
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
    )
    pids: list[int] = []

    def direct(supervisor: Supervisor) -> None:
        found = supervisor.start(python("one", code, tmp_path, grace=0.5))
        until(lambda: "deaf" in supervisor.console._stream.getvalue(), "its first word")  # type: ignore[attr-defined]
        pids.append(found.pid)

    assert "one did not stop in time and is killed" in supervise(direct)[1]
    assert not exists(pids[0])


def test_stages_stop_from_the_last_to_the_first(tmp_path: Path) -> None:
    code = """
        import pathlib, signal, sys, time
        def end(*_):
            with open("order", "a") as file: file.write(sys.argv[1])
            sys.exit(0)
        signal.signal(signal.SIGTERM, end)
        pathlib.Path("up" + sys.argv[1]).touch()
        time.sleep(600)
    """

    def direct(supervisor: Supervisor) -> None:
        for stage in (0, 1, 2):
            spec = python(f"s{stage}", code, tmp_path, stage=stage)
            supervisor.start(
                Spec(**{key: getattr(spec, key) for key in spec.__slots__} | {"argv": (*spec.argv, str(stage))})
            )
        until(lambda: len(list(tmp_path.glob("up*"))) == 3, "three children")

    supervise(direct)
    assert (tmp_path / "order").read_text() == "210"


def test_output_is_merged_behind_names_and_quiet_ones_go_to_a_file(tmp_path: Path) -> None:
    def direct(supervisor: Supervisor) -> None:
        quiet = python(
            "quiet", "print('to the file', flush=True); " + PATIENT, tmp_path, log=tmp_path / "logs" / "q.log"
        )
        children = [supervisor.start(quiet), supervisor.start(python("loud", PATIENT, tmp_path))]
        assert supervisor.wait_ready(children, 20)
        until(lambda: "up" in "".join(path.read_text() for path in tmp_path.glob("logs/*")), "the quiet one's words")
        until(lambda: "| up" in supervisor.console._stream.getvalue(), "the loud one's words")  # type: ignore[attr-defined]

    log = supervise(direct)[1]
    assert "loud               | up\n" in log
    assert "to the file" not in log
    assert "\x1b" not in log


def test_lines_are_taken_together_and_none_is_lost_or_cut() -> None:
    ear, mouth = os.pipe()
    with os.fdopen(ear, "rb") as stream, os.fdopen(mouth, "wb", buffering=0) as out:
        told = _together(stream)
        out.write(b"one\ntwo\rtwo\n\nbeg")
        assert next(told) == [b"one", b"two\rtwo", b""]
        out.write(b"un\nthe last")
        assert next(told) == [b"begun"]
        out.close()
        assert list(told) == [[b"the last"]]


def test_restart_delays_grow_to_a_limit() -> None:
    assert [child.restart_delay(count) for count in (1, 2, 3, 20)] == [0.2, 0.4, 0.8, 30.0]
    assert child.ending(-9) == "was ended by SIGKILL"
    assert child.ending(128 + 15) == "was ended by SIGTERM"
    assert child.ending(3) == "ended with exit code 3"


SUPERVISED = """
import os, sys, time
from pathlib import Path
from types import SimpleNamespace
from runtime.processes.child import Spec
from runtime.processes.console import Console
from runtime.processes.supervisor import Supervisor
from tests.system import group_is_gone

folder = Path(sys.argv[1])
ours = (sys.executable, "-c", sys.argv[2])
theirs = (sys.executable, "-m", "runtime.host.leash", "--", "sleep", "600")

def direct(supervisor):
    common = {"environ": dict(os.environ), "ready": lambda pid: True, "stage": 0, "folder": folder}
    children = [supervisor.start(Spec(name=argv[2], argv=argv, **common)) for argv in (ours, theirs)]
    supervisor.wait_ready(children)
    (folder / "pids.new").write_text(" ".join(str(child.pid) for child in children))
    (folder / "pids.new").rename(folder / "pids")

sys.exit(Supervisor(Console(sys.stdout, {})).run(direct))
"""


@contextlib.contextmanager
def supervised(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], list[int]]]:
    code = PATIENT.replace("print", "import subprocess; subprocess.Popen(['sleep', '600']); print")
    process = subprocess.Popen([sys.executable, "-c", SUPERVISED, str(folder), code], stdout=subprocess.DEVNULL)
    try:
        until((folder / "pids").exists, "the start of the children")
        yield process, [int(word) for word in (folder / "pids").read_text().split()]
    finally:
        process.kill()
        process.wait()


def test_nothing_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    with supervised(tmp_path) as (process, pids):
        process.kill()
        process.wait()
        for pid in pids:  # each leads a group that its own children belong to
            until(lambda pid=pid: group_is_gone(pid), f"the end of group {pid}")  # type: ignore[misc]


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
def test_a_program_dies_with_its_wrapper(tmp_path: Path) -> None:
    with supervised(tmp_path) as (process, pids):
        before = pids[1]
        os.kill(before, signal.SIGKILL)
        until(lambda: group_is_gone(before), "the end of the program")
        process.terminate()
        assert process.wait(20) == 0


def test_a_state_folder_serves_one_system(tmp_path: Path) -> None:
    with home.claimed(tmp_path, print) as fd:
        home.label(fd, "http://127.0.0.1:1234")
        told = rf"pid {os.getpid()}, http://127\.0\.0\.1:1234"
        with pytest.raises(home.AlreadyRunning, match=told), home.claimed(tmp_path, print):
            raise AssertionError("claimed twice")
    with home.claimed(tmp_path, print):
        home.announce(tmp_path, "http://127.0.0.1:1", {"CELERY_BROKER_URL": "x"})
        assert (tmp_path / "run.json").stat().st_mode & 0o777 == 0o600
    home.forget(tmp_path)


def settings(tmp_path: Path, **changes: object) -> Settings:
    project = Project(queues={}, functions={})
    return Settings(project=project, file=tmp_path / "functions.yaml", home=tmp_path, **changes)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::"])
def test_without_authentication_only_loopback_is_served(tmp_path: Path, host: str) -> None:
    with pytest.raises(AddressRefused, match=r"would let everybody .* in.* listen on 127\.0\.0\.1"):
        check_address(settings(tmp_path, host=host, access=Access(auth="off")), Ports(tmp_path))
    assert check_address(settings(tmp_path, host=host, port=0), Ports(tmp_path)).port, "there every request needs a key"


def test_a_name_is_no_address_to_listen_on(tmp_path: Path) -> None:
    with pytest.raises(AddressRefused, match="use 127"):
        check_address(settings(tmp_path, host="example.org"), Ports(tmp_path))


def test_a_port_in_use_is_named_with_the_way_out(tmp_path: Path) -> None:
    free = check_address(settings(tmp_path, port=0), Ports(tmp_path)).port
    assert free and not listening(free)
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", free))
        squatter.listen()
        with pytest.raises(TundishError, match=rf"Port {free} .* --port \d+"):
            check_address(settings(tmp_path, port=free), Ports(tmp_path))


def test_who_had_worked_for_a_while_is_started_again_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills now and then are no crash loop, and must not add up to a long pause."""
    now = 100.0
    monkeypatch.setattr(child, "time", SimpleNamespace(monotonic=lambda: now))
    made = child.Child(python("worker", "", tmp_path), Console(io.StringIO(), {}), ())
    for seconds, failures in ((1, 1), (1, 2), (1, 3), (6, 1), (6, 1), (1, 2)):
        made.answered()
        now += seconds
        made.failed()
        assert made.due - now == pytest.approx(child.restart_delay(failures))
