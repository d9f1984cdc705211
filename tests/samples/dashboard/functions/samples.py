"""Small functions that the dashboard calls."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal

from runtime.context import Context, ObjectEvent


def greet(name: str, times: int = 1, tone: Literal["warm", "cool"] = "warm", loud: bool = False) -> str:
    """Greet somebody, as often as you like."""
    words = " ".join([f"{'Hello' if tone == 'warm' else 'Well'}, {name}!"] * times)
    return words.upper() if loud else words


def talk(flag: str, steps: int = 4, *, context: Context) -> str:
    """Print and report a step at a time; in the middle, wait until the file `flag` is there."""
    for step in range(steps):
        print("step", step)
        context.progress(step + 1, steps, "talking")
        while step == steps // 2 and not Path(flag).exists():
            time.sleep(0.02)
    return f"{steps} steps"


def fail(message: str = "on purpose") -> None:
    """Go wrong."""
    raise RuntimeError(message)


def nap(seconds: float) -> float:
    """Take some time, more than there is."""
    time.sleep(seconds)
    return seconds


def family(children: int = 3, *, context: Context) -> list[str]:
    """Have others do the work."""
    return list(context.map("greet", [{"name": f"child {number}"} for number in range(children)]))


def crowd(flags: list[str], *, context: Context) -> int:
    """Have others do the work, ten documents each; every one waits for a flag of its own."""
    total = 10 * len(flags)
    context.progress(0, total, "documents")
    talks = [{"flag": flag, "steps": 1} for flag in flags]
    return len(list(context.map("talk", talks, amounts=[10] * len(flags))))


def count_lines(objects: list[ObjectEvent], *, context: Context) -> int:
    """Lines of tables."""
    return sum(len(context.store.get(one.bucket, one.key).data.splitlines()) for one in objects)
