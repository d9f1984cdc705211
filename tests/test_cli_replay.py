"""`tundish replay` on a whole system with the shipped functions."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.system import System
from tests.test_cli_follow import started


@pytest.fixture(scope="module")
def filled(system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("replay") / "again"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.txt").write_text(f"Otter number {number} sleeps under the bridge.")
    (folder / "bad.pdf").write_bytes(bytes(range(256)))
    system.tundish("put", str(folder))
    yield system
    system.tundish("rm", *(f"again/{path.name}" for path in folder.iterdir()))


def replay(system: System, *words: str, code: int = 0) -> Any:
    done = system.tundish("replay", *words)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_it_waits_for_the_end_and_says_how_it_went(filled: System) -> None:
    before = filled.request("GET", "/documents/documents/again/0.txt").json()
    done = replay(filled, "--bucket", "documents", "--prefix", "again/0")
    assert done.stdout.endswith(" done: 1 of 1 objects\n")
    after = filled.request("GET", "/documents/documents/again/0.txt").json()
    assert after["status"] == before["status"] == "completed"
    assert after["seq"] > before["seq"] and after["etag"] == before["etag"]
    assert after["invocation"] != before["invocation"]


def test_what_fails_is_named_and_the_exit_code_tells(filled: System) -> None:
    done = replay(filled, "--bucket", "documents", "--prefix", "again/", "--failed", "--trigger", "embed_batch", code=1)
    assert " done: 1 of 1 objects, 1 failed\n" in done.stdout
    assert "failed: documents/again/bad.pdf: " in done.stdout
    assert "tundish buckets failed documents" in done.stdout
    told = json.loads(replay(filled, "--bucket", "documents", "--prefix", "again/", "--json", code=1).stdout)
    assert (told["state"], told["settled"], told["failed"]) == ("done", 4, 1)
    assert json.loads(replay(filled, "--status", told["id"], "--json").stdout) == told


def test_nothing_that_fits_is_no_failure(filled: System) -> None:
    assert " done: 0 of 0 objects" in replay(filled, "--bucket", "documents", "--prefix", "nowhere/").stdout
    assert " done: 0 of 0 objects" in replay(filled, "--bucket", "documents", "--since", "2100-01-01").stdout


def test_ctrl_c_leaves_it_alone_and_says_how_to_end_it(filled: System) -> None:
    filled.tundish("pause", "trigger", "embed_batch:documents")
    try:
        ours, theirs = pty.openpty()
        with started(filled, "replay", "--bucket", "documents", "--prefix", "again/", stderr=theirs) as process:
            os.close(theirs)
            shown = b""
            while b"is paused" not in shown:
                shown += os.read(ours, 4096)
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(OSError):  # how Linux says that the other end is closed
                while piece := os.read(ours, 4096):
                    shown += piece
            assert process.wait(20) == 130
        os.close(ours)
        replay_id = shown.decode().partition("tundish replay --status ")[2].split()[0]
        assert f"tundish replay --cancel {replay_id}" in shown.decode()
        assert replay_id in replay(filled).stdout
        assert f"{replay_id} counting: " in replay(filled, "--status", replay_id).stdout
        assert f"{replay_id} cancelled: " in replay(filled, "--cancel", replay_id).stdout
        assert replay(filled).stdout == "No replay is under way.\n"
        ticket = replay(filled, "--bucket", "documents", "--no-wait").stdout.strip()
        assert "somebody cancelled it" in replay(filled, "--cancel", ticket).stdout
    finally:
        filled.tundish("resume", "trigger", "embed_batch:documents")


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("--bucket", "documnts"), 1, "watched buckets: documents"),
        (("--bucket", "documents", "--trigger", "embd"), 1, "no trigger embd"),
        (("--bucket", "documents", "--since", "soon"), 2, "since"),
        (("--status", "nothing"), 1, "no replay nothing"),
        (("--prefix", "a/"), 2, "--bucket"),
        (("--bucket", "documents", "--status", "x"), 2, "--bucket"),
    ],
)
def test_what_is_wrong_is_said(system: System, words: tuple[str, ...], code: int, says: str) -> None:
    assert says in replay(system, *words, code=code).stderr
