"""Functions that go on while what runs them is stopped; each writes a line when it begins and when it has ended."""

import os
import time
from pathlib import Path
from typing import Any

from celery.exceptions import SoftTimeLimitExceeded

CODE = "old"


def _line(path: str, text: str) -> None:
    if path:
        with Path(path).open("a") as file:
            file.write(text + "\n")


def note(path: str, text: str = "") -> str:
    _line(path, text)
    return CODE


def level() -> int:
    return os.nice(0)


def sleep(path: str = "", seconds: float = 60.0) -> int:
    _line(path, "began")
    time.sleep(seconds)
    _line(path, "ended")
    return os.getpid()


def stubborn(path: str) -> None:
    """Goes on whatever it is told."""
    _line(path, "began")
    for _ in range(600):
        try:
            time.sleep(0.1)
        except SoftTimeLimitExceeded:
            _line(path, "told")


def size(text: str) -> int:
    return len(text)


def slow(path: str, text: str) -> str:
    time.sleep(0.3)
    _line(path, text)
    return text


def take(objects: list[dict[str, Any]], path: str) -> int:
    for one in objects:
        _line(path, one["key"])
    return len(objects)


def wait(path: str) -> None:
    """Until there is a file."""
    while not Path(path).exists():
        time.sleep(0.05)
