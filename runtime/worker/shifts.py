"""A warm parent and its shifts: a process that holds libraries but no code of the project, and those it forks to work.

SIGHUP forks a new shift. When that one says that it is ready, the one before is told to finish (SIGTERM); when it ends
instead, nothing changes. So code is replaced without a gap, without a call dropped, and no library is loaded again.
The parent has one thread and no connections: a fork of it is safe at any time.
"""

from __future__ import annotations

import contextlib
import gc
import math
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import NoReturn

from runtime.host import leash
from runtime.processes.child import STEADY_SECONDS, ending
from runtime.system.grace import HAND_BACK_SECONDS, RETIRE, TIME_IS_OVER

_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
_PAUSE_SECONDS = 1.0
_SIGNALS = (*_FORWARDED, RETIRE, signal.SIGHUP, signal.SIGCHLD)

Work = Callable[[int, Callable[[], None]], int]
"""What a shift does: gets its number and whom to tell that it is ready; returns the exit code."""


@dataclass(slots=True)
class _Shift:
    number: int
    pid: int
    ear: int
    """The pipe on which it says that it is ready; -1 when there is nothing more to hear."""
    ready: bool = False
    since: float = field(default_factory=time.monotonic)

    def close(self) -> None:
        if self.ear >= 0:
            os.close(self.ear)
            self.ear = -1


class Shifts:
    """`run` in the main thread, before any other thread or connection is made.

    `tell` hears `ready N` and `failed N`; `say` gets words for people. A shift that has worked for `steady` seconds and
    then dies is replaced at once; after one that died sooner the parent ends, too, and its supervisor takes its time.
    Told to stop, shifts may go on with what they run for `grace` seconds.
    """

    def __init__(
        self,
        work: Work,
        environ: Mapping[str, str],
        *,
        say: Callable[[str], None],
        tell: Callable[[str], None],
        steady: float = STEADY_SECONDS,
        grace: float = math.inf,
    ) -> None:
        self._steady, self._grace = steady, grace
        self._deadline = math.inf
        """When shifts that were told to stop are to hand back what they run, and then when they are killed."""
        self._late = False
        self._work, self._say, self._tell = work, say, tell
        self._leash = int(environ.get(leash.VARIABLE) or -1)
        self._count = 1
        self._current: _Shift | None = None
        self._coming: _Shift | None = None
        self._leaving: list[_Shift] = []
        self._stopping = self._reload = False
        self._forwarded: list[int] = []
        self._again = 0.0
        """When a shift that died too soon is followed by the next, while others still finish."""
        self._code: int | None = None
        self._alive, self._alive_end = os.pipe()  # shifts read it; its end tells them that their parent is gone
        self._woken, self._waker = os.pipe()

    def run(self) -> int:
        """Work until told to stop; the exit code of the last shift."""
        for end in (self._woken, self._waker):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        for number in _SIGNALS:
            signal.signal(number, self._on_signal)
        gc.freeze()  # what is here now is shared by all shifts; a collection that touched it would copy it
        self._current = self._fork(self._count)
        while self._code is None or self._leaving:
            self._wait()
            self._pass_on()
            self._reap()
            self._hurry()
            if self._reload and not self._stopping and not self._coming and self._current and self._current.ready:
                self._reload = False
                self._count += 1
                self._coming = self._try_fork(self._count)
            if self._code and self._leaving and not self._stopping and time.monotonic() >= self._again:
                self._again = time.monotonic() + _PAUSE_SECONDS
                if shift := self._try_fork(self._count):
                    self._current, self._code = shift, None
        return self._code

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self._reload = True
        elif number == RETIRE:
            self._stopping = True
            self._forwarded.append(signal.SIGTERM)
        elif number in _FORWARDED:
            self._stopping = True
            self._deadline = min(self._deadline, time.monotonic() + self._grace)
            # Ctrl-C reaches the whole group: a second SIGINT would mean "at once".
            self._forwarded.append(signal.SIGTERM if number == signal.SIGINT else number)

    def _pass_on(self) -> None:
        """Tell the shifts what this process was told: here, where each of them is known, and not in the handler."""
        while self._forwarded:
            number = self._forwarded.pop(0)
            for shift in self._all():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(shift.pid, number)

    def _hurry(self) -> None:
        """When the grace is over, have calls handed back; who then does not end is killed."""
        if time.monotonic() < self._deadline:
            return
        number = signal.SIGKILL if self._late else TIME_IS_OVER
        self._deadline, self._late = time.monotonic() + HAND_BACK_SECONDS, True
        for shift in self._all():
            with contextlib.suppress(ProcessLookupError):
                os.kill(shift.pid, number)

    def _wait(self) -> None:
        """Until a signal, a word of a shift, or the end of whoever supervises this process."""
        starting = {shift.ear: shift for shift in self._all() if shift.ear >= 0}
        watched = [self._woken, *starting, *([self._leash] if self._leash >= 0 else [])]
        due = self._again if self._code and not self._stopping else self._deadline
        pause = None if due == math.inf else max(0.0, due - time.monotonic())
        for end in select.select(watched, [], [], pause)[0]:
            if end == self._woken:
                with contextlib.suppress(BlockingIOError):
                    os.read(end, 4096)
            elif end == self._leash:
                self._leash = -1
                leash.end_group_later()
                os.kill(os.getpid(), signal.SIGTERM)
            else:
                self._heard(starting[end])

    def _heard(self, shift: _Shift) -> None:
        said = os.read(shift.ear, 1)
        shift.close()
        if not said:  # it ended; `_reap` sees to it
            return
        shift.ready, shift.since = True, time.monotonic()
        if shift is self._coming:
            if self._current:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._current.pid, signal.SIGTERM)
                self._leaving.append(self._current)
            self._current, self._coming = shift, None
        self._tell(f"ready {shift.number}")

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                self._ended(found[0], os.waitstatus_to_exitcode(found[1]))

    def _ended(self, pid: int, code: int) -> None:
        shift = next((one for one in self._all() if one.pid == pid), None)
        if shift is None:
            return
        if self._stopping and code == -signal.SIGTERM:  # it was told to end before it could take that in hand
            code = 0
        if self._late and code in (-TIME_IS_OVER, -signal.SIGKILL):  # the same, and that was us
            code = 0
        steady = shift.ready and time.monotonic() - shift.since > self._steady
        shift.close()
        if shift is self._coming:
            self._coming = None
            self._say(f"the new worker {ending(code)} before it was ready; the one before goes on")
            self._tell(f"failed {shift.number}")
        elif shift is self._current:
            self._current = None
            if self._coming or (code and steady and not self._stopping):
                self._say(f"the worker {ending(code)}; another one takes its place")
                # The same number, and so the same name: what the one before had received is free at once.
                self._current, self._coming = self._coming or self._fork(shift.number), None
            else:
                # Who supervises this process ends it with all that is left: not before the others have finished.
                self._code = code if code >= 0 else 128 - code
                self._again = time.monotonic() + _PAUSE_SECONDS
        else:
            self._leaving.remove(shift)

    def _all(self) -> list[_Shift]:
        return [one for one in (self._current, self._coming, *self._leaving) if one]

    def _try_fork(self, number: int) -> _Shift | None:
        """A fork beside shifts that work: that there is no memory or no process left for it must not end those."""
        try:
            return self._fork(number)
        except OSError as error:
            self._say(f"no new worker can be started: {error}")
            self._tell(f"failed {number}")
            return None

    def _fork(self, number: int) -> _Shift:
        ear, mouth = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        # A signal that came between the fork and `_settle` would be handled by the parent's handlers in the child.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            pid = os.fork()
        except OSError:
            os.close(ear)
            raise
        else:
            if not pid:
                self._shift(number, ear, mouth)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            os.close(mouth)
        return _Shift(number, pid, ear)

    def _shift(self, number: int, ear: int, mouth: int) -> NoReturn:
        """The child's side of the fork."""
        code = 70  # EX_SOFTWARE
        try:
            self._settle(ear)
            code = self._work(number, lambda: _say_once(mouth))
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:  # noqa: BLE001 - the last line of a process: say it and end
            sys.excepthook(*sys.exc_info())
        finally:
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def _settle(self, ear: int) -> None:
        """Take nothing of the parent along but what a shift needs."""
        signal.set_wakeup_fd(-1)
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it is for the parent
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        ends = (ear, self._woken, self._waker, self._alive_end, self._leash, *(one.ear for one in self._all()))
        for end in ends:
            if end >= 0:
                os.close(end)
        os.environ[leash.VARIABLE] = str(self._alive)
        leash.hold(os.environ)


def _say_once(mouth: int) -> None:
    with contextlib.suppress(OSError):
        os.write(mouth, b"!")
        os.close(mouth)
