"""Generators of the tests."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from runtime.context import Context


def note(path: str, word: str) -> None:
    if path:
        with Path(path).open("a") as file:
            file.write(f"{word}\n")


def count(to: int) -> Iterator[int]:
    """Count from nought."""
    yield from range(to)


async def count_async(to: int) -> AsyncIterator[int]:
    for number in range(to):
        await asyncio.sleep(0)
        yield number


def stepwise(path: str, steps: int) -> Iterator[str]:
    """Each step waits for a file of its name beside `path`."""
    for step in range(steps):
        while not Path(f"{path}.{step}").exists():
            time.sleep(0.01)
        print("step", step)
        yield f"step {step}"


def endless(path: str = "", pause: float = 0.01, size: int = 10) -> Iterator[str]:
    made = 0
    try:
        while True:
            yield "x" * size
            made += 1
            if pause:
                time.sleep(pause)
    finally:
        note(path, f"closed after {made}")


async def endless_async(path: str) -> AsyncIterator[int]:
    try:
        while True:
            yield 1
            await asyncio.sleep(0.01)
    finally:
        await asyncio.sleep(0)
        note(path, "closed")


def odd() -> Iterator[object]:
    """Not every item has a meaning in JSON."""
    yield {"fine": b"\xff"}
    yield object()


def listed(to: int) -> Iterator[int]:
    """An iterator that is no generator, as its return type says."""
    return iter(range(to))


def breaks(after: int) -> Iterator[int]:
    yield from range(after)
    raise ValueError("it broke in the middle")


def recovers(path: str) -> Iterator[str]:
    """Fails after one item, twice."""
    note(path, "tried")
    tries = len(Path(path).read_text().splitlines())
    yield f"try {tries}"
    if tries < 3:
        raise ConnectionError("not yet")
    yield "done"


def dies(path: str) -> Iterator[str]:
    """Its process dies after the first item, once."""
    yield "first"
    if not Path(path).exists():
        note(path, "dying")
        time.sleep(0.5)  # the item must have been written
        os.kill(os.getpid(), signal.SIGKILL)
    yield "second"


def bulky(items: int, size: int) -> Iterator[str]:
    for _ in range(items):
        yield "x" * size


def mapped(numbers: int, *, context: Context) -> Iterator[int]:
    """An item before it waits for its children, and items after it."""
    yield -1
    yield from context.map("total", ({"to": number} for number in range(numbers)))


def total(to: int, *, context: Context) -> int:
    """Takes what another generator yields, as a list."""
    return sum(context.call("count", to=to))
