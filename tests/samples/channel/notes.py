"""Functions that leave a trace of when they began and ended."""

import time
from pathlib import Path


def note(path: str, text: str = "", seconds: float = 0.0, gate: str = "") -> str:
    """It ends after some seconds, and not before the file `gate` is there."""
    _write(path, f"begin {text}")
    time.sleep(seconds)
    while gate and not Path(gate).exists():
        time.sleep(0.01)
    _write(path, f"end {text}")
    return text


def add(a: int, b: int = 1, *, c: int = 0) -> int:
    return a + b + c


def _write(path: str, line: str) -> None:
    with Path(path).open("a") as file:
        file.write(line + "\n")
