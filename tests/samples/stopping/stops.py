"""Functions that are stopped: each writes down how far it came."""

import os
import time
from pathlib import Path

from celery.exceptions import SoftTimeLimitExceeded

from runtime.context import Context


class OddError(Exception):
    """A type that only this file knows."""


def note(path: str, text: str) -> None:
    with Path(path).open("a") as file:
        file.write(text + "\n")


def sleep(path: str = "", seconds: float = 60.0) -> None:
    if path:
        note(path, "began")
    try:
        time.sleep(seconds)
        if path:
            note(path, "side effect")
    finally:
        if path:
            note(path, "finally")


def stubborn(path: str) -> None:
    """Neither asks nor listens."""
    note(path, "began")
    for _ in range(600):
        try:
            time.sleep(0.1)
        except SoftTimeLimitExceeded as error:
            note(path, type(error).__name__)
    note(path, "side effect")


def swallow(path: str) -> str:
    """Ends by itself when it is told to."""
    note(path, "began")
    try:
        time.sleep(60)
    except SoftTimeLimitExceeded as error:
        note(path, type(error).__name__)
    return "as if nothing had happened"


def polite(path: str, *, context: Context) -> str:
    note(path, "began")
    while not context.should_stop():
        time.sleep(0.01)
    note(path, "stopped")
    return "stopped"


def add(a: float, b: float = 1.0) -> float:
    return a + b


def big(size: int) -> str:
    return "x" * size


def fail(message: str = "no luck") -> None:
    raise ValueError(message)


def fail_late(path: str) -> None:
    note(path, "began")
    while not Path(path + ".go").exists():
        time.sleep(0.01)
    raise ValueError("late")


def fail_oddly() -> None:
    raise OddError("odd")


def leave() -> None:
    os._exit(3)
