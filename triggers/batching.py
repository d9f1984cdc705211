"""When a batch goes and what is in it: pure decisions, with the clock handed in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from runtime.config.settings import Batch


@dataclass(frozen=True, slots=True)
class Waiting:
    """One object that waits for its batch: its bytes, and when it came (seconds).

    `share`: a larger batch with it has failed, so it goes with at most so many, and only with others of that share.
    """

    size: int
    since: float
    share: int = 0


@dataclass(frozen=True, slots=True)
class Room:
    """What may still go in this minute: objects and bytes; and how long, in seconds, the minute lasts."""

    objects: float = float("inf")
    bytes: float = float("inf")
    seconds: float = 0.0
    whole: bool = True
    """Nothing has gone in this minute: one object goes even if it is larger than the budget."""


@dataclass(frozen=True, slots=True)
class Cut:
    """The next batch is the first `count` of those that wait; 0: none for `wait` seconds, or until a batch ends."""

    count: int
    wait: float | None = None


FREE = Room()


def cut(waiting: Iterable[Waiting], limits: Batch, *, out: int, in_flight: int, now: float, room: Room = FREE) -> Cut:
    """How many of `waiting` (oldest first) go now, with `out` batches under way.

    An idle trigger sends at once whatever there is. While something is out, objects gather until a batch is full
    or the oldest has waited for `window`; at `in_flight` batches, and without a budget, nothing goes.
    """
    if out >= in_flight:
        return Cut(0)
    count, total, oldest, full, first = 0, 0, now, False, 0
    for one in waiting:
        if not count:
            first = one.share
        most = min(limits.max_items, first or limits.max_items)
        if count and (total + one.size > limits.max_bytes or one.share != first):
            full = True
            break
        if count >= room.objects or (total + one.size > room.bytes and (count or not room.whole)):
            if not count:
                return Cut(0, room.seconds)
            full = True
            break
        oldest = min(oldest, one.since)
        count, total = count + 1, total + one.size
        if count >= most or total >= limits.max_bytes:
            full = True
            break
    if not count:
        return Cut(0)
    ripe = oldest + limits.window - now
    return Cut(count) if full or out == 0 or ripe <= 0 else Cut(0, ripe)
