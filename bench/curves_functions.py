"""The curve over the number of functions that a project has, each in a file of its own, all in one queue."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench import memory
from bench.curves_house import House, house, seconds
from bench.curves_load import Point, calls, flood

AXIS = "functions"
_CODE = "def call() -> None:\n    return None\n"


def curve(sizes: Sequence[int], count: int, duration: float) -> Iterator[Point]:
    for size in sizes:
        with house() as here:
            yield _point(here, size, count, duration)


def _point(here: House, size: int, count: int, duration: float) -> Point:
    names = [f"f{number}" for number in range(size)]
    entries = "".join(f"  {name}: {{handler: {name}.py:call, triggers: [{{http: {{}}}}]}}\n" for name in names)
    text = f"version: 1\nqueues: {{q: {{concurrency: 2}}}}\ndefaults: {{queue: q}}\nfunctions:\n{entries}"
    point, paths = Point(AXIS, size), [f"/function/{name}" for name in names]
    described = seconds(lambda: here.deploy(text, {f"{name}.py": _CODE for name in names}))
    point.times["described"] = [described]
    worker = here.worker("q")
    gateway = here.gateway()
    here.ready(worker)
    calls(here, point, "call", paths, max(count, size))
    flood(here, point, "many", paths, 16, duration)
    point.numbers["gateway_memory"] = (memory.status("RssAnon", gateway.pid), "bytes")
    taken = sum(memory.status("RssAnon", pid) for pid in memory.family(worker.pid))
    point.numbers["worker_memory"] = (taken, "bytes")
    return point
