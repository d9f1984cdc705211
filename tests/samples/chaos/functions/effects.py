"""Side effects that can be counted: every function writes a line when it begins, and one when its work is done."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from runtime.context import Context

JOURNAL = Path(__file__).parent.parent / "journal"


def note(step: str, context: Context, **more: Any) -> None:
    """One line, in one write, on disk before this returns."""
    told = {"step": step, "function": context.function, "id": context.id, "attempt": context.attempt}
    line = json.dumps({**told, "pid": os.getpid(), "at": time.time(), **more}) + "\n"
    file = os.open(JOURNAL, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line.encode())
        os.fsync(file)
    finally:
        os.close(file)


def work(number: int, *, context: Context) -> int:
    note("begin", context)
    note("done", context)
    return number


def slow(number: int, *, context: Context) -> int:
    note("begin", context)
    time.sleep(0.2 + number % 10 / 10)
    note("done", context)
    return number


def flaky(number: int, *, context: Context) -> int:
    """Fails at most twice."""
    note("begin", context)
    if context.attempt <= number % 3:
        raise RuntimeError("on purpose")
    note("done", context)
    return number


def hopeless(number: int, *, context: Context) -> int:
    note("begin", context)
    raise RuntimeError(f"{number} can only fail")


def suicidal(number: int, *, context: Context) -> int:
    """Kills its own process the first time: before its work, or after it."""
    note("begin", context)
    if context.attempt == 1 and number % 2:
        os.kill(os.getpid(), signal.SIGKILL)
    note("done", context)
    if context.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def poisonous(number: int, *, context: Context) -> int:
    note("begin", context)
    os.kill(os.getpid(), signal.SIGKILL)
    return number


def gathered(number: int, *, context: Context) -> int:
    """Called once for several parents."""
    note("begin", context)
    note("done", context, parents=[parent.id for parent in context.parents])
    return len(context.parents)


def fan(number: int, *, context: Context) -> int:
    """Waits for three children without holding a worker."""
    note("begin", context)
    found = sum(context.map("leaf", [{"number": part} for part in range(3)]))
    note("done", context)
    return number + found


def take(objects: list[dict[str, Any]], *, context: Context) -> int:
    note("begin", context)
    note("done", context, keys=[each["key"] for each in objects])
    return len(objects)
