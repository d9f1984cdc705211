"""What a point of a curve is made of: one client that calls in turn, and many that call when they are answered."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.common import report
from bench.curves_house import House
from bench.index_clients import Ask

WARM = 20
"""Calls at most that are not counted: connections are made, and modules imported."""


@dataclass(slots=True)
class Point:
    """One place of a curve. `axis` is what varies, `at` how much of it there is.

    `times` are measurements in seconds by name, `numbers` are (value, unit).
    """

    axis: str
    at: int
    times: dict[str, list[float]] = field(default_factory=dict)
    numbers: dict[str, tuple[float, str]] = field(default_factory=dict)

    def measured(self) -> dict[str, tuple[list[float], str]]:
        """Everything, with its unit."""
        found = {name: (values, "s") for name, values in self.times.items()}
        return found | {name: ([value], unit) for name, (value, unit) in self.numbers.items()}

    def plain(self) -> dict[str, Any]:
        """For a file: medians and numbers by name."""
        return {"axis": self.axis, "at": self.at} | {name: _middle(told) for name, (told, _) in self.measured().items()}


def tell(point: Point, before: Sequence[Point]) -> None:
    """A line for every number of a point; its peer is the first place of the curve where that was measured."""
    for name, (values, unit) in point.measured().items():
        first = next((one for one in before if name in one.measured()), point)
        peer = () if first is point else first.measured()[name][0]
        peer = peer if peer and _middle(peer) else ()
        report(f"{point.axis}_{point.at}_{name}", values, unit, peer, f"with {first.at:,}" if peer else "")


def calls(here: House, point: Point, name: str, paths: Sequence[str], count: int, body: bytes = b"{}") -> None:
    """`count` calls by one client, the paths in turn: seconds of each, and processor time (`name_cpu`)."""
    asks, warm = [Ask(here.port, [body], path) for path in paths], min(WARM, count)

    async def run() -> list[float]:
        found = []
        async with opened(asks):
            for number in range(warm + count):
                began = time.perf_counter()
                await asks[number % len(asks)].one(number)
                found.append(time.perf_counter() - began)
        return found

    before = here.spent()
    times = asyncio.run(run())
    point.times[name] = times[warm:]
    point.numbers[f"{name}_cpu"] = ((here.spent() - before) / len(times), "s")


def flood(
    here: House, point: Point, name: str, paths: Sequence[str], clients: int, duration: float, body: bytes = b"{}"
) -> None:
    """So many clients for so many seconds: calls a second (`name_rate`), and processor time of each (`name_cpu`)."""
    asks = [Ask(here.port, [body], paths[number % len(paths)]) for number in range(clients)]

    async def run() -> tuple[int, float, float]:
        done = 0

        async def one(ask: Ask, until: float) -> None:
            nonlocal done
            while time.perf_counter() < until:
                await ask.one(0)
                done += 1

        async with opened(asks):
            for ask in asks:
                await ask.one(0)
            before, began = here.spent(), time.perf_counter()
            await asyncio.gather(*(one(ask, began + duration) for ask in asks))
            return done, time.perf_counter() - began, here.spent() - before

    done, taken, spent = asyncio.run(run())
    point.numbers[f"{name}_rate"] = (done / taken, "calls/s")
    point.numbers[f"{name}_cpu"] = (spent / done, "s")


@contextlib.asynccontextmanager
async def opened(asks: Sequence[Ask]) -> AsyncIterator[None]:
    """Connections that are open while the block runs."""
    try:
        for ask in asks:
            await ask.open()
        yield
    finally:
        for ask in asks:
            ask.close()


def _middle(values: Sequence[float]) -> float:
    ordered = sorted(values)
    return ordered[len(ordered) // 2] if ordered else 0.0
