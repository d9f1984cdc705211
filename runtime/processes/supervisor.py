"""Keeps children running: starts, asks whether they answer, restarts what died, stops all in order."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import FrameType

from runtime.errors import TundishError
from runtime.host import leash, room
from runtime.processes.child import Child, Spec, ending
from runtime.processes.console import Console

_PROBE_SECONDS = 0.1
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LISTEN_SECONDS = 0.01


class Stopping(TundishError):
    """The system is being stopped."""


class Supervisor:
    """`run` owns the main thread and the signals; a director thread says what to start and when.

    The write end of the leash's pipe is held here and nowhere else: it is close-on-exec, children get the read end.
    """

    def __init__(self, console: Console, *, keep_open: Sequence[int] = ()) -> None:
        self.console = console
        self.asked = threading.Event()
        """Set by SIGHUP; whoever takes changes over clears it."""
        self._terminal = sys.stdin is not None and sys.stdin.isatty()
        self._children: list[Child] = []
        self._changed = threading.Condition()
        self._signals = 0
        self._code: int | None = None
        self._leash, self._leash_end = os.pipe()
        self._fds = (self._leash, *keep_open)
        self._waker, self._woken = socket.socketpair()
        for end in (self._waker, self._woken):
            end.setblocking(False)

    # What the director may call, from its thread.

    def start(self, spec: Spec) -> Child:
        """Start a child and keep it running. Raises Stopping."""
        environ = {**spec.environ, leash.VARIABLE: str(self._leash)}
        child = Child(_with_environ(spec, environ), self.console, self._fds)
        with self._changed:
            self._check()
            self._children.append(child)
            child.start()
        self._wake()
        return child

    def retire(self, child: Child) -> None:
        """Ask a child to finish what it does and to leave; it has all the time it needs."""
        with self._changed:
            child.state = "retiring"
            child.signal(child.spec.leave)
        self._wake()

    def discard(self, child: Child) -> None:
        """Kill a child that nobody needs."""
        with self._changed:
            if child in self._children:
                self._children.remove(child)
            child.clear()

    def signal(self, child: Child, number: int) -> None:
        with self._changed:
            child.signal(number)

    def wait_ready(self, children: Iterable[Child], timeout: float | None = None, *, patient: bool = True) -> bool:
        """Whether all of them answered in time; `patient=False` gives up when one of them ends. Raises Stopping."""
        waiting = list(children)
        until = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while True:
                self._check()
                if all(child.state == "ready" for child in waiting):
                    return True
                if not patient and any(child.failures for child in waiting):
                    return False
                left = None if until is None else until - time.monotonic()
                if left is not None and left <= 0:
                    return False
                self._changed.wait(min(1.0, left) if left is not None else 1.0)

    def wait_said(self, child: Child, before: str, timeout: float) -> str:
        """What a child that talks says next, after `before`; '' where it says nothing in time. Raises Stopping."""
        until = time.monotonic() + timeout
        while (said := child.said) == before and child.alive():
            if time.monotonic() > until:
                return ""
            self.sleep(_LISTEN_SECONDS)
        return said if said != before else ""

    def wait_asked(self) -> None:
        """Wait for SIGHUP. Raises Stopping."""
        while not self.asked.wait(0.2):
            self.sleep(0)
        self.asked.clear()

    def sleep(self, seconds: float) -> None:
        """Wait, but not beyond the end. Raises Stopping."""
        until = time.monotonic() + seconds
        with self._changed:
            while (left := until - time.monotonic()) > 0:
                self._check()
                self._changed.wait(left)
            self._check()

    def stopping(self) -> bool:
        return self._code is not None or self._signals > 0

    def stop(self, code: int = 0) -> None:
        """Stop everything; `run` returns the code."""
        with self._changed:
            self._code = code if self._code is None else self._code
            self._changed.notify_all()
        self._wake()

    # The main thread.

    def run(self, direct: Callable[[Supervisor], None]) -> int:
        """Run until a signal, `stop`, or an error of the director. Returns the exit code."""
        with self._catching():
            threading.Thread(target=self._loudly, args=(direct,), name="director", daemon=True).start()
            threading.Thread(target=self._loudly, args=(Supervisor._probe,), name="prober", daemon=True).start()
            try:
                while not self.stopping():
                    self._sleep(self._tick())
            finally:
                self._stop_all()
                os.close(self._leash_end)
        return self._code or 0

    @contextlib.contextmanager
    def _catching(self) -> Iterator[None]:
        """Signals only count and wake: what they mean is decided in `run`."""

        def count(number: int, _: FrameType | None) -> None:
            if number == signal.SIGHUP and not self._hung_up():
                self.asked.set()
            else:
                self._signals += number != signal.SIGCHLD

        before = {number: signal.signal(number, count) for number in (*_SIGNALS, signal.SIGCHLD)}
        fd = signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(fd)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _hung_up(self) -> bool:
        """Whether SIGHUP means that the terminal is gone, and not that somebody asks for a reload."""
        return self._terminal and not os.isatty(0)

    def _loudly(self, work: Callable[[Supervisor], None]) -> None:
        """A thread's work; an error that ends it ends everything, for nothing goes on without it."""
        try:
            work(self)
        except Stopping:
            pass
        except TundishError as error:
            self.console.say(str(error))
            self.stop(1)
        except Exception:  # noqa: BLE001 - the last line of a thread: say it, and stop in order
            self.console.say(traceback.format_exc())
            self.stop(1)

    def _probe(self) -> None:
        while not self.stopping():
            with self._changed:
                starting = [(child, child.pid) for child in self._children if child.state == "starting"]
            for child, pid in starting:
                if self._answers(child, pid):
                    with self._changed:
                        if child.state == "starting" and child.pid == pid:
                            child.answered()
                            self.console.say(f"{child.spec.name} is ready (pid {pid})")
                            self._changed.notify_all()
            time.sleep(_PROBE_SECONDS)

    def _answers(self, child: Child, pid: int) -> bool:
        try:
            return child.spec.ready(pid)
        except (OSError, TundishError):
            return False

    def _tick(self) -> float:
        """Look at every child once; returns the seconds until something is due."""
        now, pause = time.monotonic(), 1.0
        with self._changed:
            for child in list(self._children):
                if child.state in ("starting", "ready", "retiring") and (code := child.exit_code()) is not None:
                    self._ended(child, code)
                    self._changed.notify_all()
                elif child.state == "waiting" and child.due <= now:
                    child.start()
                if child.state == "waiting":
                    pause = min(pause, max(0.0, child.due - now))
        return pause

    def _ended(self, child: Child, code: int) -> None:
        name, was_ready = child.spec.name, child.state == "ready"
        child.clear()
        if child.state == "retiring":
            self._children.remove(child)
        elif code == 0 and was_ready and not child.spec.service:
            child.state = "left"
            self.console.say(f"{name} left on request (exit code 0) and is not started again")
        else:
            for line in child.last_words():
                self.console.line(name, line)
            child.failed()
            seconds = child.due - time.monotonic()
            self.console.say(f"{name} {ending(code)}; it is started again in {seconds:.1f} s")
            if told := room.missing(child.spec.folder):
                self.console.say(told)

    def _stop_all(self) -> None:
        """Highest stage first: nobody accepts work any more, then work ends, then the services."""
        with self._changed:
            self._changed.notify_all()
            children = list(self._children)
        if any(child.alive() for child in children):
            self.console.say("Stopping (again Ctrl-C: at once) …")
        hurry = self._signals + 1
        for stage in sorted({child.spec.stage for child in children}, reverse=True):
            group = [child for child in children if child.spec.stage == stage]
            for child in group:
                child.signal(signal.SIGTERM)
            until = time.monotonic() + max(child.spec.grace for child in group)
            while any(child.alive() for child in group) and time.monotonic() < until and self._signals < hurry:
                self._sleep(0.2)
            for child in group:
                if child.alive():
                    self.console.say(f"{child.spec.name} did not stop in time and is killed")
                child.clear()

    def _check(self) -> None:
        if self.stopping():
            raise Stopping

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            self._waker.send(b"\0")

    def _sleep(self, seconds: float) -> None:
        """Until a signal, a child's end, a call from another thread, or the time is over."""
        if select.select([self._woken], [], [], seconds)[0]:
            with contextlib.suppress(BlockingIOError):
                self._woken.recv(4096)


def _with_environ(spec: Spec, environ: dict[str, str]) -> Spec:
    from dataclasses import replace

    return replace(spec, environ=environ)
