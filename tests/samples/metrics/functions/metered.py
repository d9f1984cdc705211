"""Functions that end in every way."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass

from runtime.context import Context


@dataclass
class Item:
    number: int


def fine(number: int = 0) -> int:
    return number


def bad() -> None:
    raise ValueError("it is bad")


def again(*, context: Context) -> int:
    if context.attempt < 3:
        raise RuntimeError("not yet")
    return context.attempt


def dies(*, context: Context) -> str:
    """Its process is gone at the first attempt."""
    if context.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"


def late() -> None:
    time.sleep(30)


def together(items: list[Item]) -> list[int]:
    return [item.number for item in items]


def counting(*, context: Context) -> None:
    context.count("rows_read", 3)
    context.count("rows_read", 4)
