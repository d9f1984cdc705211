"""When a batch goes and what is in it: pure decisions, with the clock handed in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from runtime.config import Batch


@dataclass(frozen=True, slots=True)
class Waiting:
    """One object that waits for its batch: its bytes, and when it came (seconds)."""

    size: int
    since: float


@dataclass(frozen=True, slots=True)
class Cut:
    """The next batch is the first `count` of those that wait; 0: none for `wait` seconds, or until a batch ends."""

    count: int
    wait: float | None = None


def cut(waiting: Iterable[Waiting], limits: Batch, *, out: int, in_flight: int, now: float) -> Cut:
    """How many of `waiting` (oldest first) go now, with `out` batches under way.

    An idle trigger sends at once whatever there is. While something is out, objects gather until a batch is full
    or the oldest has waited for `window`; at `in_flight` batches nothing goes.
    """
    if out >= in_flight:
        return Cut(0)
    count, total, oldest, full = 0, 0, now, False
    for one in waiting:
        if count and total + one.size > limits.max_bytes:
            full = True
            break
        oldest = min(oldest, one.since)
        count, total = count + 1, total + one.size
        if count >= limits.max_items or total >= limits.max_bytes:
            full = True
            break
    if not count:
        return Cut(0)
    ripe = oldest + limits.window - now
    return Cut(count) if full or out == 0 or ripe <= 0 else Cut(0, ripe)
