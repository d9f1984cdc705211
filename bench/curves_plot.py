"""The cost curves as a picture: `python -m bench.curves_plot CURVE.json > CURVE.svg`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import plot
from bench.plot import a_second, in_bytes, in_seconds

Point = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A diagram: its lines are (name, axis, what a point of that axis has)."""

    title: str
    lines: Sequence[tuple[str, str, str]]
    write: Callable[[float], str]
    across: Callable[[float], str] = plot.count

    def drawn(self, points: Sequence[Point]) -> plot.Panel:
        lines = [(name, _places(points, axis, value)) for name, axis, value in self.lines]
        return plot.Panel(self.title, lines, self.write, across=self.across)


def _places(points: Sequence[Point], axis: str, name: str) -> list[tuple[float, float]]:
    return [(float(one["at"]), float(one[name])) for one in points if one["axis"] == axis and one.get(name)]


def _pair(name: str) -> list[tuple[str, str, str]]:
    return [("processes", "processes", name), ("nodes", "nodes", name)]


PANELS = (
    Wanted("A call, by functions", [("median", "functions", "call")], in_seconds),
    Wanted("Calls of 16 clients, by functions", [("calls", "functions", "many_rate")], a_second),
    Wanted(
        "Memory, by functions",
        [("gateway", "functions", "gateway_memory"), ("worker", "functions", "worker_memory")],
        in_bytes,
    ),
    Wanted("A call, by workers", _pair("call"), in_seconds),
    Wanted("Calls of 50 ms, by workers", _pair("nap_rate"), a_second),
    Wanted("Processor time of a call, by workers", _pair("many_cpu"), in_seconds),
    Wanted(
        "A call, by its size",
        [("in", "payload", "length"), ("in and out", "payload", "echo"), ("store alone", "payload", "store_alone")],
        in_seconds,
        in_bytes,
    ),
    Wanted("Accepting a call, by what waits", [("median", "queued", "submit")], in_seconds),
    Wanted("Calls run, by what waits", [("2 processes", "queued", "run_rate")], a_second),
    Wanted(
        "Looking after, by what waits",
        [("upkeep", "queued", "upkeep"), ("counting", "queued", "census"), ("queues", "queued", "stats")],
        in_seconds,
    ),
    Wanted("Cancelling 100, by what waits", [("purge", "queued", "purge_of_100")], in_seconds),
    Wanted("Memory of the broker, by what waits", [("all", "queued", "memory")], in_bytes),
)


def svg(points: Sequence[Point]) -> str:
    """A picture of all panels; `points` is what `bench.curves --curve` writes."""
    return plot.svg(
        "What a call costs, by functions, workers, size and what waits", [one.drawn(points) for one in PANELS]
    )


if __name__ == "__main__":
    print(svg(json.loads(Path(sys.argv[1]).read_text())["points"]), end="")
