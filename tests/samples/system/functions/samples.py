"""Small functions for end-to-end tests."""

from __future__ import annotations

import time

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
