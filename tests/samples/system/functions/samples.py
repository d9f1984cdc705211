"""Small functions for end-to-end tests."""

from __future__ import annotations

import time
from pathlib import Path

from runtime.context import Context

from ._words import GREETING


def greet(name: str, times: int = 1) -> str:
    """Greet somebody."""
    return " ".join([f"{GREETING}, {name}!"] * times)


def fail(message: str = "on purpose") -> None:
    """Fail."""
    raise RuntimeError(message)


def sleep(seconds: float) -> float:
    """Take some time."""
    time.sleep(seconds)
    return seconds


def talk(steps: int, flag: str = "", *, context: Context) -> str:
    """Print, log and report, a step at a time; with `flag` it waits in the middle until that file is there."""
    for step in range(steps):
        print("step", step)
        context.progress(step + 1, steps, "talking")
        while step == steps // 2 and flag and not Path(flag).exists():
            time.sleep(0.02)
        time.sleep(0.3)
    context.log.warning("nothing left to say")
    return f"{steps} steps"
