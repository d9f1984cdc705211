"""The cost curves as Markdown, a table for each axis: `python -m bench.curves_table CURVE.json`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.plot import in_bytes, in_seconds

Point = dict[str, Any]
Row = tuple[str, str, Callable[[float], str]]


def _rate(value: float) -> str:
    return f"{value:,.0f}/s"


def _share(value: float) -> str:
    return f"{value:.0%}"


_CALLS: Sequence[Row] = (
    ("a call, one client", "call", in_seconds),
    ("calls, 16 clients", "many_rate", _rate),
    ("processor time of each, in all processes", "many_cpu", in_seconds),
)
_WORKERS: Sequence[Row] = (
    *_CALLS,
    ("calls of 50 ms, two clients for each process", "nap_rate", _rate),
    ("of what so many processes could do", "busy", _share),
    ("commands to the broker while nothing is called", "idle_commands", _rate),
)
ROWS: Mapping[str, Sequence[Row]] = {
    "functions": (
        *_CALLS,
        ("describing them all", "described", in_seconds),
        ("memory of the gateway", "gateway_memory", in_bytes),
        ("memory of a worker with two processes", "worker_memory", in_bytes),
    ),
    "processes": _WORKERS,
    "nodes": _WORKERS,
    "payload": (
        ("a call that brings so much", "length", in_seconds),
        ("a call that brings it and takes it back", "echo", in_seconds),
        ("processor time of the first", "length_cpu", in_seconds),
        ("of the second", "echo_cpu", in_seconds),
        ("the store alone: put and get", "store_alone", in_seconds),
    ),
    "queued": (
        ("accepting a call, median", "submit", in_seconds),
        ("the broker's processor time for it", "submit_broker_cpu", in_seconds),
        ("calls run, one worker with two processes", "run_rate", _rate),
        ("the broker's processor time for each", "run_broker_cpu", in_seconds),
        ("the upkeep's look at everything", "upkeep", in_seconds),
        ("counting by state", "census", in_seconds),
        ("all that a page of queues shows", "stats", in_seconds),
        ("cancelling the first 100", "purge_of_100", in_seconds),
        ("the broker's processor time for that", "purge_broker_cpu", in_seconds),
        ("memory of the broker", "memory", in_bytes),
        ("for each that waits", "memory_each", in_bytes),
    ),
}
_UNITS = {"payload": in_bytes}


def tables(points: Sequence[Point]) -> str:
    """What was not measured at a place is left empty there; an axis without a point is left out."""
    found = []
    for axis, rows in ROWS.items():
        places = [point for point in points if point["axis"] == axis]
        if places:
            head = [_UNITS.get(axis, lambda at: f"{at:,}")(point["at"]) for point in places]
            lines = [[axis, *head], ["---", *["---:"] * len(places)]]
            lines += [[title, *(_cell(point.get(name), write) for point in places)] for title, name, write in rows]
            found.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    return "\n\n".join(found)


def _cell(value: float | None, write: Callable[[float], str]) -> str:
    return "" if value is None else write(value)


if __name__ == "__main__":
    print(tables(json.loads(Path(sys.argv[1]).read_text())["points"]))
