"""No process outlives its supervisor, however that one ends.

The supervisor alone holds the write end of a pipe. Every child has the read end (its number is in
TUNDISH_LEASH_FD) and ends when it reads the end of the file. Our own processes call `hold`; a program of
somebody else runs under `python -m runtime.host.leash -- PROGRAM ARGUMENT…`. Standard library only.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType

VARIABLE = "TUNDISH_LEASH_FD"
GRACE_SECONDS = 5.0
_PR_SET_PDEATHSIG = 1


def hold(environ: Mapping[str, str]) -> None:
    """End this process when its supervisor is gone. Without a supervisor nothing happens."""
    if number := environ.get(VARIABLE):
        _watch(int(number), lambda: os.kill(os.getpid(), signal.SIGTERM))


def hold_child(environ: Mapping[str, str]) -> None:
    """The same for a process that one of ours has forked: its parent tells it to end, if it is there to do so."""

    def end() -> None:
        time.sleep(GRACE_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)

    if number := environ.get(VARIABLE):
        _watch(int(number), end)


def _watch(fd: int, end: Callable[[], None]) -> None:
    def wait() -> None:
        with contextlib.suppress(OSError):
            while os.read(fd, 1):  # nothing is ever written
                pass
        end_group_later()
        end()

    threading.Thread(target=wait, name="leash", daemon=True).start()


def end_group_later() -> None:
    """Have the rest of this process's group killed when the process has ended, or when its grace is over.

    This process may end before those that it started: somebody outside of the group has to look after them.
    """
    pid = os.getpid()
    if os.getpgrp() != pid:  # not a group of our own
        return
    script = (
        f'n=0; while [ "$n" -lt {int(GRACE_SECONDS * 10)} ] && kill -0 {pid} 2>/dev/null; '
        f"do sleep 0.1; n=$((n+1)); done; kill -s KILL -- -{pid} 2>/dev/null"
    )
    quiet = subprocess.DEVNULL
    with contextlib.suppress(OSError):
        subprocess.Popen(["/bin/sh", "-c", script], stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)


def dying_with_parent() -> Callable[[], None] | None:
    """For Linux: what a new child calls so that the kernel kills it when this process is killed."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl  # found before the fork: no imports after it
    return lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def main(argv: Sequence[str]) -> int:
    """Run a program; pass signals on to it, its exit code back."""
    if len(argv) < 2 or argv[0] != "--":
        sys.stderr.write("usage: python -m runtime.host.leash -- PROGRAM [ARGUMENT…]\n")
        return 2
    environ = dict(os.environ)
    number = environ.pop(VARIABLE, None)
    child = subprocess.Popen(argv[1:], env=environ, preexec_fn=dying_with_parent())  # noqa: PLW1509

    def forward(number: int, _: FrameType | None) -> None:
        child.send_signal(number)

    for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(name, forward)
    if number:
        _watch(int(number), child.terminate)
    code = child.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
