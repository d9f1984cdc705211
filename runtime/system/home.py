"""The state folder while a system runs: one system at a time, and how others find it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from runtime.errors import TundishError
from runtime.host.alive import alive
from runtime.security.private_files import private_folder, write_private

_LEAVING_SECONDS = 15.0


class AlreadyRunning(TundishError):
    """Another `tundish up` runs on this state folder."""


class NotWritable(TundishError):
    """The state folder cannot be written."""


@contextlib.contextmanager
def claimed(home: Path, say: Callable[[str], None]) -> Iterator[int]:
    """Hold the state folder; yields the file descriptor of the lock, which children are to inherit.

    Because they have it too, the folder is free only when the last process of a killed system is gone: no second
    server ever opens the data of a first one. Raises AlreadyRunning, with the PID and the URL of the other, and
    NotWritable.
    """
    try:
        path = private_folder(home) / "lock"
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise NotWritable(
            f"Nothing can be written into the state folder {home}: {error.strerror}. Give this user the right to write "
            "there, or choose another one: tundish up --home DIR, or TUNDISH_HOME."
        ) from error
    try:
        until = time.monotonic() + _LEAVING_SECONDS
        told = False
        while not _locked(fd):
            holder = _holder(path)
            if alive(holder.get("pid", 0)) or time.monotonic() > until:
                raise AlreadyRunning(
                    f"Tundish is already running on {home} (pid {holder.get('pid', 'unknown')}, "
                    f"{holder.get('url', 'address unknown')}). Stop it first, or give this one another state "
                    "folder and port: tundish up --home DIR --port N"
                )
            if not told:
                say("Waiting for the processes of the system that ran here before to end …")
                told = True
            time.sleep(0.1)
        label(fd)
        forget(home)  # of one that was killed
        yield fd
    finally:
        os.close(fd)


def holder(home: Path) -> int:
    """The PID of the `tundish up` that holds a state folder; 0 where none does, whatever a killed one has left."""
    try:
        fd = os.open(home / "lock", os.O_RDWR)
    except OSError:
        return 0
    try:
        pid = 0 if _locked(fd) else int(_holder(home / "lock").get("pid", 0))
        return pid if alive(pid) else 0
    finally:
        os.close(fd)


def label(fd: int, url: str = "address not known yet") -> None:
    """Say in the lock who holds it."""
    os.ftruncate(fd, 0)
    os.pwrite(fd, json.dumps({"pid": os.getpid(), "url": url}).encode(), 0)


def announce(home: Path, url: str, environ: Mapping[str, str]) -> None:
    """Let other processes of this user find the system. `run.json` holds secrets: mode 0600."""
    content = {"pid": os.getpid(), "url": url, "environ": dict(environ)}
    write_private(home / "run.json", json.dumps(content, indent=1))


def forget(home: Path) -> None:
    (home / "run.json").unlink(missing_ok=True)


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
