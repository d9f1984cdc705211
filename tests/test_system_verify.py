"""A whole system: files are put in with a bar, and `tundish index verify` says whether index and bucket agree."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime import keys
from runtime.broker.connection import connect
from runtime.config.settings import StoreSettings
from runtime.store.port import MinioStore
from tests.system import System, until
from tests.test_cli_follow import started


@contextlib.contextmanager
def held(system: System) -> Iterator[None]:
    """Nothing is handed out; what comes meanwhile waits."""
    triggers = system.pid("triggers")
    os.kill(triggers, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(triggers, signal.SIGCONT)


def verified(system: System) -> bool:
    return system.tundish("index", "verify").returncode == 0


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "notes").mkdir()
    for name in ("one", "two", "three"):
        (tmp_path / "notes" / f"{name}.txt").write_text(f"The {name} of the notes is about a lighthouse.")
    return tmp_path / "notes"


def test_index_and_bucket_agree_and_then_do_not(system: System, files: Path) -> None:
    assert system.tundish("put", str(files)).returncode == 0
    until(lambda: verified(system), "an index that agrees")
    done = system.tundish("index", "verify", "--json")
    told = json.loads(done.stdout)
    (report,) = told["indexes"]
    assert told["ok"] and report["documents"] == report["objects"] >= 3 and report["chunks"] >= 3
    assert "version" in system.tundish("index").stdout  # the bare command is what it was
    (report,) = json.loads(system.tundish("index", "verify", "--recall", "--json").stdout)["indexes"]
    assert report["recall"]["recall"] == 1 and report["recall"]["texts"] >= 1, "the embedder was asked, too"
    found = system.connections
    store = MinioStore(
        StoreSettings(
            endpoint=found["MINIO_ENDPOINT"],
            access_key=found["MINIO_ACCESS_KEY"],
            secret_key=found["MINIO_SECRET_KEY"],
        )
    )
    with held(system):
        store.put("documents", "notes/one.txt", b"It is about something else.")
        store.delete("documents", "notes/two.txt")
        store.put("documents", "notes/four.txt", b"It came last.")
        done = system.tundish("index", "verify")
        assert done.returncode == 1
        kinds = {line.split()[1].rstrip(":"): line.split()[0] for line in done.stdout.splitlines() if "  doc" in line}
        assert kinds == {
            "documents/notes/one.txt": "changed",
            "documents/notes/two.txt": "extra",
            "documents/notes/four.txt": "missing",
        }
    until(lambda: verified(system), "an index that agrees again")
    assert system.tundish("rm", "notes/one.txt", "notes/three.txt", "notes/four.txt").returncode == 0
    until(lambda: verified(system), "an index without them")


def test_a_lost_ledger_is_made_anew_and_changes_nothing_in_the_index(system: System, files: Path) -> None:
    assert system.tundish("put", str(files)).returncode == 0
    until(lambda: verified(system), "an index that agrees")
    before = json.loads(system.tundish("index", "verify", "--json").stdout)["indexes"][0]
    broker = connect(system.connections["CELERY_BROKER_URL"])

    with held(system):
        lost = [*broker.scan_iter(keys.ledger("*", "*")), *broker.scan_iter(keys.listing("*", "*"))]
        assert broker.delete(*lost) >= 2
    os.kill(system.pid("triggers"), signal.SIGKILL)  # the next one looks at once
    until(lambda: list(broker.scan_iter(keys.lost("*", "*"))), "a word on the lost ledger")
    until(lambda: broker.hlen(next(iter(broker.scan_iter(keys.ledger("*", "documents"))), "none")) >= 3, "a new ledger")
    until(lambda: verified(system), "an index that agrees again")
    after = json.loads(system.tundish("index", "verify", "--json").stdout)["indexes"][0]
    # The version may be another one, since other objects went together; what is in it is the same.
    assert [after[name] for name in ("objects", "documents", "chunks")] == [
        before[name] for name in ("objects", "documents", "chunks")
    ]
    told = system.tundish("buckets")
    assert "lost" in told.stdout + told.stderr
    assert system.tundish("rm", *[f"notes/{path.name}" for path in files.iterdir()]).returncode == 0
    until(lambda: verified(system), "an index without them")


def test_what_became_of_a_document_is_told_with_its_text(system: System, files: Path) -> None:
    assert system.tundish("put", str(files / "one.txt")).returncode == 0
    told = json.loads(system.request("GET", "/documents/documents/one.txt?text=1").data)
    assert (told["status"], told["chunks"], told["reason"]) == ("completed", 1, None)
    assert told["text"] == "The one of the notes is about a lighthouse."
    call = json.loads(system.request("GET", f"/api/v1/tasks/task/{told['invocation']}").data)
    assert (call["function"], call["state"]) == ("embed_batch", "succeeded")
    assert told["processed_at"] >= call["created"]
    assert system.tundish("rm", "one.txt").returncode == 0


def test_a_terminal_sees_how_far_a_put_is(system: System, files: Path) -> None:
    ours, theirs = pty.openpty()
    with contextlib.ExitStack() as stack:
        with held(system):
            process = stack.enter_context(started(system, "put", str(files), stderr=theirs))
            os.close(theirs)
            shown = b""
            while b"0/3" not in shown or b"pending" not in shown:
                shown += os.read(ours, 4096)
        with contextlib.suppress(OSError):  # how Linux says that the other end is closed
            while piece := os.read(ours, 4096):
                shown += piece
        assert process.stdout is not None
        lines = process.stdout.read().splitlines()
        assert process.wait(20) == 0
    os.close(ours)
    assert sorted(lines[:3]) == [f"searchable documents/notes/{name}.txt" for name in ("one", "three", "two")]
    assert lines[3:] == ["3 of 3 files"]
    assert system.tundish("rm", *(f"notes/{name}.txt" for name in ("one", "two", "three"))).returncode == 0


def test_without_waiting_nothing_is_followed(system: System, files: Path) -> None:
    with held(system):
        done = system.tundish("put", str(files / "one.txt"), "--no-wait")
        assert (done.returncode, done.stdout, done.stderr) == (0, "stored     documents/one.txt\n", "")
    assert system.tundish("rm", "one.txt").returncode == 0
