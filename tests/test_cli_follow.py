"""`tundish logs` and `tundish invoke --follow` against a whole system, whose gateway may be restarted meanwhile."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.cli.event_stream import Event, parse
from tests.system import System, clean_environ, until


@contextlib.contextmanager
def started(system: System, *words: str, stderr: int = subprocess.PIPE) -> Iterator[subprocess.Popen[str]]:
    """A command that runs beside the test."""
    environ = clean_environ(
        TUNDISH_FILE=str(system.folder / "functions.yaml"),
        TUNDISH_HOME=str(system.home),
        PYTHONUNBUFFERED="1",
        TERM="xterm",
    )
    command = [sys.executable, "-P", "-m", "runtime.cli.main", *words]
    process = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=stderr, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def call(system: System, **arguments: object) -> str:
    done = system.tundish("invoke", "talk", "-d", json.dumps(arguments), "--async")
    return done.stdout.strip()


def test_logs_of_one_call(system: System) -> None:
    task_id = call(system, steps=2)
    done = system.tundish("logs", task_id, "-f")
    assert done.stdout.splitlines() == ["step 0", "step 1", "WARNING nothing left to say"]
    assert done.stderr == "talk succeeded\n"
    assert system.tundish("logs", task_id, "-n", "1").stdout == "WARNING nothing left to say\n"
    assert system.tundish("logs", task_id, "-n", "1", "-f").stdout == "WARNING nothing left to say\n"
    told = [json.loads(line) for line in system.tundish("logs", task_id, "--json").stdout.splitlines()]
    assert [(line["stream"], line["text"]) for line in told[:2]] == [("stdout", "step 0"), ("stdout", "step 1")]
    missing = system.tundish("logs", "nobody")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "no task nobody" in missing.stderr


def test_logs_of_all_calls(system: System) -> None:
    first = call(system, steps=1)
    assert system.tundish("logs", first, "-f").returncode == 0
    newest = f"talk[{first[:8]}] WARNING nothing left to say"
    assert system.tundish("logs", "-n", "1").stdout.splitlines() == [newest]
    with started(system, "logs", "-f", "-n", "1") as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == newest
        second = call(system, steps=1)
        assert process.stdout.readline().strip() == f"talk[{second[:8]}] step 0"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0


def test_follow_shows_output_and_prints_the_result(system: System) -> None:
    done = system.tundish("invoke", "talk", "-d", '{"steps": 2}', "--follow")
    assert done.stderr.splitlines() == ["step 0", "step 1", "WARNING nothing left to say"]
    assert (done.returncode, json.loads(done.stdout)) == (0, "2 steps")
    told = json.loads(system.tundish("invoke", "greet", "-d", '{"name": "Ada"}', "--follow", "--json").stdout)
    assert (told["result"], told["attempts"]) == ("Hello, Ada!", 1)


def test_follow_of_a_failure(system: System) -> None:
    done = system.tundish("invoke", "fail", "--follow")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "tundish: fail dead: RuntimeError: on purpose\n"
    assert system.tundish("invoke", "fail", "--follow", "--async").returncode == 2
    assert "name: is missing" in system.tundish("invoke", "greet", "--follow").stderr


def test_ctrl_c_leaves_the_call_alone_and_says_how_to_end_it(system: System, tmp_path: Path) -> None:
    flag = tmp_path / "go"
    with started(system, "invoke", "talk", "-d", json.dumps({"steps": 1, "flag": str(flag)}), "--follow") as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "step 0\n"
        process.send_signal(signal.SIGINT)
        told = process.stderr.read()
        assert process.wait(20) == 130
    task_id = told.splitlines()[-1].split()[-1]
    assert f"tundish cancel {task_id}" in told
    flag.touch()
    assert "succeeded" in system.tundish("logs", task_id, "-f").stderr


def test_ctrl_c_of_a_plain_call_says_where_to_find_it(system: System, tmp_path: Path) -> None:
    flag = tmp_path / "go"
    with started(system, "invoke", "talk", "-d", json.dumps({"steps": 1, "flag": str(flag)})) as process:
        until(lambda: "talk" in system.tundish("tasks", "--state", "running", "--json").stdout, "the call")
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert "tundish tasks --function talk" in process.stderr.read()
        assert process.wait(20) == 130
    flag.touch()


def test_whoever_follows_notices_no_restart_of_the_gateway(system: System, tmp_path: Path) -> None:
    flag, before = tmp_path / "go", system.pid("gateway")
    with started(system, "invoke", "talk", "-d", json.dumps({"steps": 3, "flag": str(flag)}), "--follow") as process:
        assert process.stderr is not None and process.stdout is not None
        shown = [process.stderr.readline() for _ in range(2)]
        os.kill(before, signal.SIGKILL)
        until(lambda: system.pid("gateway") not in (0, before), "a new gateway")
        flag.touch()
        shown += process.stderr.read().splitlines(keepends=True)
        assert json.loads(process.stdout.read()) == "3 steps"
        assert process.wait(20) == 0
    assert shown == ["step 0\n", "step 1\n", "step 2\n", "WARNING nothing left to say\n"]


@pytest.mark.parametrize("flags", [(), ("--follow",)], ids=["plain", "follow"])
def test_a_terminal_gets_a_bar(system: System, tmp_path: Path, flags: tuple[str, ...]) -> None:
    flag, (ours, theirs) = tmp_path / "go", pty.openpty()
    words = ("invoke", "talk", "-d", json.dumps({"steps": 3, "flag": str(flag)}), *flags)
    with started(system, *words, stderr=theirs) as process:
        os.close(theirs)
        assert process.stdout is not None
        shown = b""
        while b"2/3" not in shown:
            shown += os.read(ours, 4096)
        flag.touch()
        with contextlib.suppress(OSError):  # how Linux says that the other end is closed
            while piece := os.read(ours, 4096):
                shown += piece
        assert json.loads(process.stdout.read()) == "3 steps"
        assert process.wait(20) == 0
    os.close(ours)
    assert b"talking" in shown
    assert (b"step 2" in shown) == bool(flags)


@given(st.lists(st.integers(1, 40)), st.text(max_size=20))
def test_events_are_the_same_however_they_were_cut(cuts: list[int], text: str) -> None:
    events = [Event("log", "1-0/x", {"text": text}), Event("", "2-0", None), Event("state", "", {"a": None})]
    stream = b"retry: 1000\n\n"
    for event in events:
        fields = [f"event: {event.name}"] if event.name else []
        fields += [f"id: {event.id}"] if event.id else []
        fields += [f"data: {json.dumps(event.data, ensure_ascii=False)}"] if event.data is not None else []
        stream += "\n".join(fields).encode() + b"\n\n: still here\n\n"
    chunks, rest = [], stream
    for cut in cuts:
        chunks.append(rest[:cut])
        rest = rest[cut:]
    found = [event for event in parse([*chunks, rest]) if event.id or event.data is not None]
    assert found == events
