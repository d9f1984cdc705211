"""The curve over the number of workers: processes of one node, and nodes of one process, as on so many hosts."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from bench.curves_house import House, house
from bench.curves_load import Point, calls, flood

PROCESSES, NODES = "processes", "nodes"
NAP_SECONDS = 0.05
_CODE = f"import time\n\ndef noop() -> None:\n    return None\n\ndef nap() -> None:\n    time.sleep({NAP_SECONDS})\n"
_YAML = """version: 1
queues: {{q: {{concurrency: {size}}}}}
defaults: {{queue: q}}
functions:
  noop: {{handler: code.py:noop, triggers: [{{http: {{}}}}]}}
  nap: {{handler: code.py:nap, triggers: [{{http: {{}}}}]}}
"""


def processes(sizes: Sequence[int], count: int, duration: float) -> Iterator[Point]:
    """One worker with so many processes, started anew for each size."""
    with house() as here:
        here.deploy(_YAML.format(size=1), {"code.py": _CODE})
        here.gateway()
        for size in sizes:
            here.deploy(_YAML.format(size=size), {})
            worker = here.worker("q")
            here.ready(worker)
            yield _point(here, PROCESSES, size, count, duration)
            here.stop(worker)


def nodes(sizes: Sequence[int], count: int, duration: float) -> Iterator[Point]:
    """So many workers of one process; they join those that are there."""
    with house() as here:
        here.deploy(_YAML.format(size=1), {"code.py": _CODE})
        here.gateway()
        there = 0
        for size in sizes:
            here.ready(*[here.worker(f"q{number}") for number in range(there, size)])
            there = size
            yield _point(here, NODES, size, count, duration)


def _point(here: House, axis: str, size: int, count: int, duration: float) -> Point:
    point = Point(axis, size)
    before, spent, began = _commands(here), here.spent(), time.perf_counter()
    time.sleep(duration)
    taken = time.perf_counter() - began
    point.numbers["idle_commands"] = ((_commands(here) - before) / taken, "commands/s")
    point.numbers["idle_cpu"] = ((here.spent() - spent) / taken, "of a core")
    calls(here, point, "call", ["/function/noop"], count)
    flood(here, point, "many", ["/function/noop"], 16, duration)
    flood(here, point, "nap", ["/function/nap"], 2 * size, duration)
    rate = point.numbers["nap_rate"][0]
    point.numbers["busy"] = (rate * NAP_SECONDS / size, "of each worker")
    return point


def _commands(here: House) -> int:
    told: Any = here.client.info("stats")
    return int(told["total_commands_processed"])
