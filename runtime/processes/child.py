"""One supervised child: how to start it, its process group, its output, and the state it is in."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

from runtime.host.niceness import step_back
from runtime.processes.console import Console

State = Literal["starting", "ready", "waiting", "left", "retiring"]

FIRST_DELAY_SECONDS = 0.2
LONGEST_DELAY_SECONDS = 30.0
STEADY_SECONDS = 5.0
"""Who has worked for this long and then dies is not one that cannot start: it is started again soon."""

LAST_SECONDS = 2.0
"""How long the rest of a killed group is waited for: longer only where nobody collects the dead (no init)."""

STATUS_VARIABLE = "TUNDISH_STATUS_FD"
"""Where a child hears of its status pipe."""

_LOG_BYTES = 10 * 2**20

_TOGETHER_SECONDS = 0.02
"""Lines that come within this time are taken together: a busy worker writes one for every call. The first is not kept
waiting."""
_LONGEST_LINE = 64 * 1024
_MUCH = 16 * 1024
"""Bytes at once from one that is not to wait for us."""


@dataclass(frozen=True, slots=True)
class Spec:
    """What to run. `ready` asks the child with this PID for an answer. Higher stages stop first.

    `service`: its output goes to `log` only, and it is started again even when it left by itself.
    """

    name: str
    argv: tuple[str, ...]
    environ: Mapping[str, str] = field(repr=False)
    ready: Callable[[int], bool]
    stage: int
    folder: Path
    grace: float = 5.0
    service: bool = False
    log: Path | None = None
    leave: int = signal.SIGTERM
    """By what it is asked to finish in its own time, when another one has taken its place."""
    talks: bool = False
    """It is given a pipe (TUNDISH_STATUS_FD) on which it says more than a PID can tell, a line at a time."""
    litter: tuple[Path, ...] = ()
    nice: int = 0
    """How far it steps back when others want the processor."""


def restart_delay(failures: int) -> float:
    """Seconds to wait before the next start after so many failures in a row."""
    return float(min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2 ** (failures - 1)))


def ending(code: int) -> str:
    """What an exit code means, in words."""
    number = -code if code < 0 else code - 128
    with contextlib.suppress(ValueError):
        if number > 0:
            return f"was ended by {signal.Signals(number).name}"
    return f"ended with exit code {code}"


def _anybody(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # so says macOS of the dead that nobody has collected yet
        pass
    return True


class Child:
    """A process in a group of its own. Not thread-safe: the supervisor's lock guards it."""

    def __init__(self, spec: Spec, console: Console, fds: Sequence[int]) -> None:
        self.spec, self._console, self._fds = spec, console, fds
        self.state: State = "waiting"
        self.failures = 0
        self.due = 0.0
        self.said = ""
        """The last thing that it said on its status pipe."""
        self._since = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._tail: deque[str] = deque(maxlen=15)

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    def start(self) -> None:
        """Start the process; one that cannot be started counts as one that failed."""
        self._tail.clear()
        self.said = ""
        ear, mouth = os.pipe() if self.spec.talks else (-1, -1)
        try:
            self._process = subprocess.Popen(
                self.spec.argv,
                env={**self.spec.environ, **({STATUS_VARIABLE: str(mouth)} if self.spec.talks else {})},
                cwd=self.spec.folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(*self._fds, mouth) if self.spec.talks else self._fds,
                process_group=0,
            )
        except OSError as error:
            self._process = None
            if self.spec.talks:
                os.close(ear)
            self._console.say(f"{self.spec.name} cannot be started: {error}")
            self.failed()
            return
        finally:
            if self.spec.talks:
                os.close(mouth)
        step_back(self.spec.nice, self._process.pid)
        self.state = "starting"
        assert self._process.stdout  # noqa: S101 - a pipe was asked for
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()
        if self.spec.talks:
            threading.Thread(target=self._listen, args=(os.fdopen(ear, "rb"), self._process), daemon=True).start()

    def exit_code(self) -> int | None:
        return self._process.poll() if self._process else None

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def answered(self) -> None:
        self.state, self._since = "ready", time.monotonic()

    def failed(self) -> None:
        """Plan the next start: later after each failure, soon again after the child had worked for a while."""
        if self.state == "ready" and time.monotonic() - self._since > STEADY_SECONDS:
            self.failures = 0
        self.failures += 1
        self.state, self.due = "waiting", time.monotonic() + restart_delay(self.failures)

    def signal(self, number: int) -> None:
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def clear(self) -> None:
        """Kill whatever is left of the group, wait for it, and remove the files that it leaves."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        # Those that it had started die by themselves: a next start must not meet them on its ports and files.
        until = time.monotonic() + LAST_SECONDS
        while _anybody(self._process.pid) and time.monotonic() < until:
            time.sleep(0.01)
        if self._reader:
            self._reader.join(timeout=2)
        for path in self.spec.litter:
            path.unlink(missing_ok=True)

    def last_words(self) -> list[str]:
        """The end of what a quiet child wrote: shown when it dies."""
        return list(self._tail)

    def _listen(self, stream: IO[bytes], process: subprocess.Popen[bytes]) -> None:
        with stream:
            while line := stream.readline(1024):
                if process is self._process:
                    self.said = line.decode("utf-8", "replace").strip()

    def _read(self, stream: IO[bytes]) -> None:
        log = _Log(self.spec.log) if self.spec.log else None
        with stream:
            for lines in _together(stream):
                texts = [line.decode("utf-8", "replace").rstrip() for line in lines]
                if log:
                    self._tail.extend(texts)
                    log.write(b"\n".join([*lines, b""]))
                else:
                    self._console.lines(self.spec.name, filter(None, texts))


def _together(stream: IO[bytes]) -> Iterator[list[bytes]]:
    """The lines of a pipe, without their ends: as many at a time as there are."""
    begun = b""
    while found := os.read(stream.fileno(), _LONGEST_LINE):
        *lines, begun = (begun + found).split(b"\n")
        if len(begun) >= _LONGEST_LINE:
            lines, begun = [*lines, begun], b""
        if lines:
            yield lines
        if len(found) < _MUCH:
            time.sleep(_TOGETHER_SECONDS)
    if begun:
        yield [begun]


class _Log:
    """A file that is cut before it grows without end: one older half is kept beside it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)

    def write(self, lines: bytes) -> None:
        with contextlib.suppress(OSError):  # a full disk must not stop the reading, and with it the writer
            if self._path.exists() and self._path.stat().st_size > _LOG_BYTES:
                self._path.replace(self._path.with_name(self._path.name + ".1"))
            with self._path.open("ab") as file:
                file.write(lines)
