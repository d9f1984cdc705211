"""Functions that put something out."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from runtime.context import Context

_POOL = ThreadPoolExecutor(2)
log = logging.getLogger("talk")


def say(word: str, *, context: Context) -> str:
    """Say a word in every way there is."""
    print(f"printed {word}")
    print(f"bad {word}", file=sys.stderr)
    context.log.warning("logged %s", word)
    log.info("by the way, %s", word)
    log.debug("nobody reads this %s", word)
    thread = threading.Thread(target=print, args=(f"from a thread {word}",))
    thread.start()
    thread.join()
    _POOL.submit(print, f"from a pool {word}").result()
    try:
        raise ValueError(word)
    except ValueError:
        log.exception("caught")
    sys.stdout.write("10 %\r20 %\rdone")
    sys.stdout.write(f" {word}")
    return word


def chat(word: str, meet: str, lines: int = 50) -> None:
    """Print at the same time as somebody else does."""
    Path(meet, word).touch()
    while len(list(Path(meet).iterdir())) < 2:
        time.sleep(0.01)
    for number in range(lines):
        print(word, end=" ")
        time.sleep(0.001)
        print(number)


def flood(lines: int, width: int) -> None:
    """Print too much."""
    for _ in range(lines):
        print("x" * width)


def count(to: int, seconds: float = 0.0, *, context: Context) -> int:
    """Count, and say so."""
    for done in range(to):
        context.progress(done + 1, to, f"number {done + 1}")
        time.sleep(seconds)
    return to


def hold(flag: str) -> str:
    """Print and wait to be killed; the second time it is only printed."""
    first = not Path(flag).exists()
    Path(flag).touch()
    print("first" if first else "second", os.getpid())
    if first:
        time.sleep(60)
    return "held"


def twice(*, context: Context) -> int:
    """Fail the first time."""
    print("attempt", context.attempt)
    if context.attempt == 1:
        raise RuntimeError("once")
    return context.attempt


def work(steps: int, *, context: Context) -> dict[str, int]:
    """Print and report, a step at a time."""
    for step in range(steps):
        print("step", step)
        context.progress(step + 1, steps)
        time.sleep(0.3)
    return {"steps": steps}


def sizes(items: list[str]) -> list[int]:
    """Print once for several calls."""
    print("sizes of", len(items))
    time.sleep(0.3)
    return [len(item) for item in items]
