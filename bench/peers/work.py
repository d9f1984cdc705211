"""What every peer is asked to do: the same functions, by the same names."""

from __future__ import annotations

import time


def noop() -> None:
    """Nothing."""


def size(data: str) -> int:
    """The length of a text that travels with the call."""
    return len(data)


def burn() -> None:
    """10 ms of processor time."""
    until = time.process_time() + 0.01
    while time.process_time() < until:
        pass


def rest() -> None:
    """50 ms of waiting, as for somebody else's answer."""
    time.sleep(0.05)


def gathered(items: list[str]) -> list[int]:
    """For calls that are run together (`gather`)."""
    return [len(item) for item in items]
