"""Describing functions again and again: one process holds the libraries and forks for every description.

It never runs code of the project itself, so each description sees the files as they are then. `python -m
runtime.deployment.describer` reads requests from standard input, a line each, and answers with a line each:
{"described": …} or {"failed": why}.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from runtime.deployment.describe import SLOW_SECONDS, TIMEOUT_SECONDS, being_imported, describe_here, slow, too_slow
from runtime.errors import HandlerError
from runtime.processes.child import ending

_PATIENCE_SECONDS = 1.0
"""How long a description may take before anybody asks whether it is still wanted."""


class Describer:
    """The process's client: starts it with the first request, and again after it was lost. Thread-safe.

    `overtaken` says that the answer is no longer wanted, since the files have changed again or the system stops; `say`
    is told once of an import that takes long.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        python: str = sys.executable,
        overtaken: Callable[[], bool] = lambda: False,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._overtaken, self._say = overtaken, say
        self._command = [python, "-P", "-m", "runtime.deployment.describer"]
        self._environ = dict(environ)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def describe(self, root: Path, functions: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """What `runtime.deployment.describe` answers to the same request. Raises HandlerError."""
        with tempfile.TemporaryDirectory() as folder:
            at = Path(folder, "told")
            request = {"root": str(root), "functions": functions, "told": str(at)}
            with self._lock:
                answer = self._ask(json.dumps(request).encode() + b"\n", at)
            try:
                told = json.loads(answer)
            except ValueError:
                raise HandlerError("the functions could not be described: the process that does it ended") from None
            if "failed" in told:
                raise HandlerError(f"{being_imported(at)} could not be imported: {told['failed']}")
        result: dict[str, dict[str, Any]] = told["described"]
        return result

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def _ask(self, request: bytes, at: Path) -> bytes:
        if self._process is None or self._process.poll() is not None:
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(self._command, env=self._environ, stdin=pipe, stdout=pipe, process_group=0)
        process = self._process
        assert process.stdin and process.stdout  # noqa: S101 - pipes were asked for
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(request)
            process.stdin.flush()
            began, warned = time.monotonic(), False
            while not select.select([process.stdout], [], [], _PATIENCE_SECONDS)[0]:
                if self._overtaken():
                    self._end()
                    message = "was not waited for any longer: the files have changed again, or the system stops"
                    raise HandlerError(f"{being_imported(at)} {message}")
                if time.monotonic() - began > TIMEOUT_SECONDS:
                    self._end()
                    raise HandlerError(too_slow(at))
                if not warned and time.monotonic() - began > SLOW_SECONDS and at.exists():
                    warned = True
                    self._say(slow(at))
            return process.stdout.readline()
        return b""

    def _end(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # what it forked may import for ever
            for stream in (self._process.stdin, self._process.stdout):
                if stream:
                    with contextlib.suppress(OSError):
                        stream.close()
            self._process.wait()
            self._process = None


def main() -> None:
    """Answer requests until standard input ends: with the process that asks."""
    from runtime.deployment import describe_function  # noqa: F401 - what every description needs

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who asks
    while line := sys.stdin.buffer.readline():
        sys.stdout.buffer.write(_answer(json.loads(line)) + b"\n")
        sys.stdout.buffer.flush()


def _answer(request: Mapping[str, Any]) -> bytes:
    ear, mouth = os.pipe()
    with tempfile.TemporaryFile() as said:
        pid = os.fork()
        if not pid:
            os.close(ear)
            _describe(request, mouth, said)
        os.close(mouth)
        with os.fdopen(ear, "rb") as stream:
            answer = stream.readline().rstrip(b"\n")  # not to the end: a module may fork what lives on
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code == 0 and answer:
            return answer
        said.seek(0)
        words = said.read().decode(errors="replace").strip().splitlines()[-1:]
        return json.dumps({"failed": " ".join([f"the process {ending(code)}", *words])}).encode()


def _describe(request: Mapping[str, Any], mouth: int, said: BinaryIO) -> None:
    """The forked half: never returns. What modules print while they are imported must not get into the answer."""
    code = 1
    try:
        signal.alarm(int(TIMEOUT_SECONDS))  # who waits for it may be gone
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        for number in (1, 2):
            os.dup2(said.fileno(), number)
        found = describe_here(Path(request["root"]), request["functions"], Path(request["told"]))
        with os.fdopen(mouth, "wb") as stream:
            stream.write(json.dumps({"described": found}).encode() + b"\n")
        code = 0
    except BaseException as error:  # noqa: BLE001 - the last line of a process
        os.write(2, f"{type(error).__name__}: {error}".encode())
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
