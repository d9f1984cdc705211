"""How often something took how long: counts by bound, as Prometheus wants them. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

INFINITE = float("inf")

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 1800.0, 3600.0)
"""Bounds for calls, from those that look something up to those that run for an hour. Alerts ask at 5 and 10 minutes."""

RETRIES = (0.0, 1.0, 2.0, 3.0, 5.0, 10.0)


@dataclass(slots=True)
class Histogram:
    """`counts[i]` is how many were at most `bounds[i]` and more than the bound before; the last, more than all."""

    bounds: Sequence[float] = SECONDS
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = self.counts or [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def add(self, bound: float, count: int) -> None:
        """`count` that were at most `bound`. Of a bound that is not among these (another version had it) they count at
        the next larger one."""
        self.counts[bisect_left(self.bounds, bound)] += count

    def samples(self) -> tuple[list[tuple[str, float]], float]:
        """(bound as Prometheus writes it, how many were at most that), …; and the sum."""
        limits = [*map(str, self.bounds), "+Inf"]
        return list(zip(limits, map(float, accumulate(self.counts)), strict=True)), self.total


def lua(name: str, bounds: Sequence[float], scale: float) -> str:
    """A function of Lua that tells the bound of a value, times `scale`, as text: the first that is not below it."""
    steps = (f"  if value <= {bound * scale:.0f} then return '{bound * scale:.0f}' end\n" for bound in bounds)
    return f"local function {name}(value)\n{''.join(steps)}  return 'inf'\nend\n"


def merged(parts: Mapping[tuple[str, str], Histogram]) -> dict[str, Histogram]:
    """Histograms of one name and different second labels, put together by their first."""
    found: dict[str, Histogram] = {}
    for (name, _), part in parts.items():
        one = found.setdefault(name, Histogram(part.bounds))
        one.counts = [ours + theirs for ours, theirs in zip(one.counts, part.counts, strict=True)]
        one.total += part.total
    return found
