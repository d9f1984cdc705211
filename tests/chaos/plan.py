"""What the clients are to do: a list of calls and of objects, the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

How = Literal["sync", "async", "object"]

_SHARES: dict[tuple[str, How], float] = {
    ("work", "async"): 30,
    ("work", "sync"): 25,
    ("flaky", "async"): 10,
    ("flaky", "sync"): 4,
    ("hopeless", "async"): 2,
    ("slow", "async"): 4,
    ("slow", "sync"): 2,
    ("suicidal", "async"): 1,
    ("suicidal", "sync"): 0.5,
    ("poisonous", "async"): 0.2,
    ("link", "async"): 10,
    ("fan", "async"): 4,
    ("take", "object"): 8,
}


@dataclass(frozen=True, slots=True)
class Wish:
    """One call, or one object to be dropped. Its number is its own."""

    number: int
    function: str
    how: How

    @property
    def key(self) -> str:
        """The idempotency key of every second call; a call without one may be kept in the gateway's outbox instead."""
        return f"chaos-{self.number}" if self.number % 2 == 0 else ""

    @property
    def states(self) -> frozenset[str]:
        """The states in which it may end, whatever is killed."""
        # Who waits hears of the first failure: nothing is tried again for it.
        failing = self.function == "flaky" and self.how == "sync" and self.number % 3 > 0
        if self.function == "hopeless":
            return frozenset({"failed" if self.how == "sync" else "dead"})
        if self.function == "poisonous":
            return frozenset({"dead"})
        # An attempt that was lost with its worker is followed by one that need not fail.
        return frozenset({"failed", "succeeded"} if failing else {"succeeded"})


def wishes(count: int, seed: int) -> Iterator[Wish]:
    dice = random.Random(seed)
    for number, (function, how) in enumerate(dice.choices(list(_SHARES), list(_SHARES.values()), k=count)):
        yield Wish(number, function, how)
    # However few they are: what is rare comes once.
    for number, (function, how) in enumerate(_SHARES, start=count):
        yield Wish(number, function, how)
