"""How long searches of each index took, without the embedding of their texts; and how often its version changed."""

from __future__ import annotations

from collections import Counter, defaultdict, deque

from runtime.values.histogram import Histogram

KEPT = 1000
ENOUGH = 100
"""Fewer searches do not tell of one in a hundred."""


BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class SearchTimes:
    """The latest `KEPT` times of every index that is searched here, in seconds; `spent` counts all of them."""

    def __init__(self) -> None:
        self._taken: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=KEPT))
        self.spent: defaultdict[str, Histogram] = defaultdict(lambda: Histogram(BOUNDS))
        self.swaps = Counter[str]()
        """How many versions this gateway has taken over, by index."""

    def add(self, index: str, seconds: float) -> None:
        self._taken[index].append(seconds)
        self.spent[index].observe(seconds)

    def p99(self, index: str) -> float | None:
        """99 searches of 100 took at most this long; None while there were too few."""
        taken = self._taken.get(index, ())
        return sorted(taken)[int(len(taken) * 0.99)] if len(taken) >= ENOUGH else None
