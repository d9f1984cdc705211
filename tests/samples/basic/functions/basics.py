"""Functions of the tests: each shows one thing that can happen to an invocation."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from runtime.context import Context
from runtime.errors import BadInput

from ._shared import note

print("a module may print while it is imported")


@dataclass
class Sum:
    total: float
    count: int


def add(a: float, b: float = 1.0) -> Sum:
    """Add two numbers."""
    return Sum(a + b, 2)


def echo(value: object = None) -> object:
    return value


def collect(*, context: Context) -> list[object]:
    return [parent.result for parent in context.parents]


def who(*, context: Context) -> dict[str, object]:
    left = context.time_left()
    return {
        "id": context.id,
        "function": context.function,
        "attempt": context.attempt,
        "trigger": context.trigger,
        "greeting": os.environ.get("GREETING"),
        "in_time": left is not None and 0 < left <= 20,
    }


def fail(message: str = "broken") -> None:
    raise ValueError(message)


def refuse() -> None:
    raise BadInput("this can never work")


def flaky(path: str) -> int:
    """Fails twice, then works."""
    note(path, "tried")
    tries = len(Path(path).read_text().splitlines())
    if tries < 3:
        raise ConnectionError(f"try {tries}")
    return tries


def nap(seconds: float = 0.1, path: str | None = None) -> float:
    if path:
        note(path, str(os.getpid()))
    time.sleep(seconds)
    return seconds


def polite(seconds: float = 5.0) -> None:
    time.sleep(seconds)


def leave() -> None:
    sys.exit(3)


def interrupt() -> None:
    raise KeyboardInterrupt


async def cancel() -> None:
    raise asyncio.CancelledError


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_once(path: str) -> str:
    if not Path(path).exists():
        note(path, "dying")
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"


def fan(count: int, *, context: Context) -> float:
    results = context.map("add", ({"a": number} for number in range(count)), in_flight=4)
    return sum(result["total"] for result in results)


def ordered(path: str, text: str, seconds: float = 0.0) -> None:
    note(path, text)
    time.sleep(seconds)
