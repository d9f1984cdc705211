"""The process that parses documents for this one: started at first use, reused, replaced when it dies."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.errors import BadInput

MEMORY_LIMIT = 2**30
"""Bytes of memory for one document's parser, on Linux."""

ANSWER_LIMIT = 256 * 2**20
_CHILD = Path(__file__).with_name("_extract_child.py")
_KEPT = 2**28
"""Bytes of memory with which a child may wait for its next document: what one keeps is not there for the others."""

_LENGTH = struct.Struct("!I")
_START_SECONDS = 20.0


class Unreadable(BadInput):
    """A document that the parser did not survive. `passing`: another time it may (it ran out of time)."""

    def __init__(self, message: str, *, passing: bool = False) -> None:
        super().__init__(message)
        self.passing = passing


@dataclass(frozen=True, slots=True)
class Extracted:
    """What the parser found in a document."""

    text: str
    title: str = ""
    pages: list[int] = field(default_factory=list)
    language: str = ""
    notes: list[str] = field(default_factory=list)
    passing: bool = False
    """Another time there may be more of it."""
    scanned: int = 0
    """Pages that wait for OCR to be there."""


class Extractor:
    """One child process, one document at a time. The child ends when this process does.

    `subprocess` and not `multiprocessing`: a worker's pool processes are daemonic and may not have children there.
    """

    def __init__(self, *, memory: int = MEMORY_LIMIT) -> None:
        self._memory = memory
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None
        me = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _forget(me))

    @property
    def pid(self) -> int | None:
        """The child's process id, where one runs."""
        return self._child.pid if self._child else None

    def extract(self, data: bytes, kind: str, *, timeout: float, **limits: Any) -> Extracted:
        """The text of a document (`kind`: as in `Text`). Raises Unreadable with the cause, unnamed the file.

        `limits`: the fields of `_extract_found.Limits`.
        """
        request = {"data": data, "kind": kind, "cpu_seconds": int(timeout) + 1, **limits}
        with self._lock:
            try:
                answer = self._ask(request, timeout)
            except TimeoutError as error:
                self._kill()
                raise Unreadable(f"it took longer than {timeout:.0f} s to read", passing=True) from error
            except (OSError, EOFError) as error:
                end, passing = self._end()
                raise Unreadable(f"its parser {end}", passing=passing) from error
            except BaseException:  # a time limit of the worker, for example: the child is in the middle of something
                self._kill()
                raise
        if "error" in answer:
            raise Unreadable(answer["error"])
        return Extracted(**answer)

    def close(self) -> None:
        """End the child."""
        with self._lock:
            self._kill()

    def forget(self) -> None:
        """In a forked copy of this process: let go of the child, which belongs to the original."""
        if self._connection is not None:
            self._connection.close()
        if self._child is not None:
            self._child.returncode = 0  # not ours to wait for
        self._child, self._connection, self._lock = None, None, threading.Lock()

    def _ask(self, request: dict[str, Any], timeout: float) -> dict[str, Any]:
        import msgpack

        starting = self._child is None or self._child.poll() is not None
        connection = self._start() if starting or self._connection is None else self._connection
        deadline = time.monotonic() + timeout + (_START_SECONDS if starting else 0)
        body = msgpack.packb(request)
        connection.settimeout(timeout + (_START_SECONDS if starting else 0))
        connection.sendall(_LENGTH.pack(len(body)) + body)
        (size,) = _LENGTH.unpack(_receive(connection, _LENGTH.size, deadline))
        if size > ANSWER_LIMIT:
            raise EOFError
        answer: dict[str, Any] = msgpack.unpackb(_receive(connection, size, deadline))
        if answer.pop("busy", False) or (self._child is not None and _resident(self._child.pid) > _KEPT):
            self._kill()
        return answer

    def _start(self) -> socket.socket:
        self._kill()
        ours, theirs = socket.socketpair()
        with theirs:
            # Its environment holds no credentials: what it reads comes from strangers.
            self._child = subprocess.Popen(
                [sys.executable, "-P", str(_CHILD), str(self._memory)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "LC_ALL": "C.UTF-8"},
            )
        self._connection = ours
        return ours

    def _kill(self) -> None:
        if self._child is not None:
            self._child.kill()
        self._end()

    def _end(self) -> tuple[str, bool]:
        """End the child; says how it had ended by itself, and whether another try may go better."""
        if self._connection is not None:
            self._connection.close()
        child, self._child, self._connection = self._child, None, None
        if child is None:
            return "could not be started", True
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(0.5)  # a broken connection comes a moment before the exit
        child.kill()
        code = child.wait()
        if code in (-signal.SIGXCPU, -signal.SIGKILL):
            return "was stopped while it worked (out of processor time, or killed)", True
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"crashed ({name}: damaged file, or over {self._memory // 2**20} MiB of memory)", False


def _receive(connection: socket.socket, size: int, deadline: float) -> bytes:
    data = bytearray()
    while len(data) < size:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        part = connection.recv(min(2**20, size - len(data)))
        if not part:
            raise EOFError
        data += part
    return bytes(data)


def _resident(pid: int) -> int:
    """Bytes of memory that a process holds; 0 where that is not told (macOS)."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def of_this_process(memory: int = MEMORY_LIMIT) -> Extractor:
    """The extractor that all documents of this process share which may take so much memory. A fork gets its own."""
    return _of_process(os.getpid(), memory)


@functools.cache
def _of_process(pid: int, memory: int) -> Extractor:
    return Extractor(memory=memory)


def _forget(extractor: weakref.ref[Extractor]) -> None:
    alive = extractor()
    if alive is not None:
        alive.forget()
