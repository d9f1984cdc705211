"""What a call costs by the number of functions, of workers, by its size, and by what waits in its queue.

Run it with `make bench B=curves`. Every place of a curve is measured against its first place in the same run; what
should not depend on the size is flat where the ratio is 1. `--part functions,queued` measures these alone, `--quick`
takes two or three places of each in less than a minute, `--curve curve.json` keeps all numbers and draws `curve.svg`.

    python -m bench.curves --queued 1,1k,100k,1m    # a million waiting calls take 1.6 GB of the broker's memory
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import curves_functions, curves_payload, curves_plot, curves_queued, curves_workers
from bench.curves_load import Point, tell
from bench.sizes import sizes


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured: places, calls of one client, seconds of many clients."""

    functions: Sequence[int] = (1, 4, 16, 64)
    workers: Sequence[int] = (1, 2, 4, 8, 16)
    payload: Sequence[int] = (1, 1_000, 10_000, 60_000, 100_000, 1_000_000, 10_000_000)
    queued: Sequence[int] = (1, 1_000, 10_000, 100_000, 1_000_000)
    count: int = 200
    duration: float = 3.0


QUICK = Plan((1, 64), (1, 4), (1, 60_000, 1_000_000), (1, 1_000, 20_000), count=50, duration=0.7)

PARTS: Mapping[str, Callable[[Plan], Iterator[Point]]] = {
    curves_functions.AXIS: lambda plan: curves_functions.curve(plan.functions, plan.count, plan.duration),
    curves_workers.PROCESSES: lambda plan: curves_workers.processes(plan.workers, plan.count, plan.duration),
    curves_workers.NODES: lambda plan: curves_workers.nodes(plan.workers, plan.count, plan.duration),
    curves_payload.AXIS: lambda plan: curves_payload.curve(plan.payload, plan.count),
    curves_queued.AXIS: lambda plan: curves_queued.curve(plan.queued, plan.count),
}


def measure(plan: Plan, parts: Sequence[str]) -> list[Point]:
    """All points of some parts; their lines are printed as they come."""
    found: list[Point] = []
    for part in parts:
        points: list[Point] = []
        for point in PARTS[part](plan):
            tell(point, points)
            points.append(point)
        found += points
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--part", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--queued", type=sizes, help="places of that curve, such as 1,1k,1m")
    parser.add_argument("--curve", type=Path, help="where all numbers go, as JSON; the picture lies beside it")
    given = parser.parse_args()
    plan = QUICK if given.quick else Plan()
    if given.queued:
        plan = Plan(plan.functions, plan.workers, plan.payload, given.queued, plan.count, plan.duration)
    parts = given.part.split(",")
    if unknown := [part for part in parts if part not in PARTS]:
        parser.error(f"There is no part {unknown[0]}; there are {', '.join(PARTS)}.")
    points = [point.plain() for point in measure(plan, parts)]
    if given.curve:
        given.curve.write_text(json.dumps({"points": points}, indent=1) + "\n")
        given.curve.with_suffix(".svg").write_text(curves_plot.svg(points))


if __name__ == "__main__":
    main()
