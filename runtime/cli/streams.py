"""The standard streams of a command: there, able to take any text, and a full disk is no traceback."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator

_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def ready() -> Iterator[None]:
    """Around a command. What is closed is `/dev/null`: nobody answers there, and nothing is seen.

    Raises SystemExit where the output could not be written.
    """
    _fill()
    for stream in (sys.stdout, sys.stderr):
        # Characters that this terminal or file cannot have are escaped; those of file names stay as they are.
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # `tundish functions | head`
        _drop()
    except OSError as error:
        stuck = _stuck()
        if not stuck and error.errno not in _FULL:
            raise
        _drop()
        before = "The output could not be written: " if stuck else ""
        what = f" ({error.filename})" if error.filename else ""
        sys.stderr.write(f"tundish: {before}{error.strerror}{what}.\n")
        sys.exit(1)


def _fill() -> None:
    """Open in their places what the caller has closed."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 - for as long as the process lives


def _stuck() -> bool:
    """Whether it was the standard output: it still has what it could not write, or takes not even nothing."""
    try:
        sys.stdout.flush()
        os.write(sys.stdout.fileno(), b"")  # without a buffer nothing is kept
    except OSError:
        return True
    return False


def _drop() -> None:
    """What is still to be written to the standard output goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
