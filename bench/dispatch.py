"""A call through the front door and the queue, against everyone else: one JSON object a line.

    make bench B=dispatch                      # everything, about ten minutes
    python -m bench.dispatch --quick           # plain Celery, Flower and taskiq, in half a minute
    python -m bench.dispatch --peers celery --out dispatch.json

All run at the same time on the same broker, each in a database of its own, and are measured in turn. `--out` keeps the
lines, and draws them beside it (dispatch.svg).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import redis

from bench import dispatch_answers, dispatch_counts, dispatch_plot, memory
from bench.common import ROOT, system
from bench.dispatch_house import FULL, QUICK, House, Plan
from bench.dispatch_lines import Lines
from bench.dispatch_peers import Running, client, installed, started
from bench.peers.plans import PLANS
from runtime import keys
from runtime.broker import presence
from runtime.broker.connection import connect

QUICK_PEERS = ("celery", "flower", "taskiq")
_FILE = """\
version: 1
queues: {bench: {concurrency: 2, prefetch: 4}}  # as many as plain Celery's workers have
defaults: {queue: bench}
functions:
  noop: {handler: work.py:noop, triggers: [{http: {}}]}
  size: {handler: work.py:size, triggers: [{http: {}}]}
  burn: {handler: work.py:burn, triggers: [{http: {}}]}
  rest: {handler: work.py:rest, triggers: [{http: {}}]}
  gathered: {handler: work.py:gathered, gather: {max_items: 500}, triggers: [{http: {}}]}
"""


def main(arguments: Sequence[str] | None = None) -> None:
    given = _parser().parse_args(arguments)
    wanted = given.peers or (QUICK_PEERS if given.quick else [plan.name for plan in PLANS])
    plan = replace(QUICK if given.quick else FULL, **({"rounds": given.rounds} if given.rounds else {}))
    versions = installed([one for one in PLANS if one.name in wanted])
    lines = Lines()
    for name in wanted:
        if name not in versions:
            lines.missing(name, "not installed: make bench-peers")
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        found = stack.enter_context(system(project(Path(folder, "ours"))))
        broker = connect(found.environ["CELERY_BROKER_URL"])
        ours = stack.enter_context(tundish(found.url, broker, Path(folder)))
        peers = []
        for one in PLANS:
            if one.name in versions:
                try:
                    peers.append(stack.enter_context(started(one, found.environ["CELERY_BROKER_URL"], Path(folder))))
                except SystemExit as error:
                    lines.missing(one.name, str(error))
        house = House(ours, peers, broker, found.pid, _pid(broker, "gateway"), _pid(broker, "worker"))
        measure(house, lines, plan)
        if given.out:
            told = {"machine": machine(broker, versions), "lines": lines.told}
            given.out.write_text(json.dumps(told, indent=1) + "\n")
            given.out.with_suffix(".svg").write_text(dispatch_plot.svg(told))


def measure(house: House, lines: Lines, plan: Plan) -> None:
    """Everything, first as `appendfsync` is, then what depends on it with `everysec`."""
    dispatch_answers.answers(house, lines, plan, plan.cells)
    dispatch_answers.processor(house, lines, plan)
    dispatch_counts.counted(house, lines, plan)
    dispatch_counts.gathered(house, lines, plan)
    dispatch_answers.half_load(house, lines, plan)
    dispatch_answers.many_clients(house, lines, plan)
    house.broker.config_set("appendfsync", "everysec")
    lines.fsync = "everysec"
    dispatch_answers.answers(house, lines, plan, plan.fast_cells)
    if plan.fast_counted:
        dispatch_counts.counted(house, lines, plan)


def project(folder: Path) -> Path:
    """A functions.yaml with the functions that the peers have."""
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "bench" / "peers" / "work.py", folder)
    file = folder / "functions.yaml"
    file.write_text(_FILE)
    return file


@contextlib.contextmanager
def tundish(url: str, broker: redis.Redis, folder: Path) -> Iterator[Running]:
    """We, as a running gateway and one worker."""
    command = [sys.executable, "-m", "bench.peers.with_http", "tundish", url]
    worker = _pid(broker, "worker")
    with client("tundish", command, {**os.environ, "PYTHONPATH": str(ROOT)}, folder) as made:
        yield Running("tundish", made, [worker], partial(_signal, worker), lambda: _ended(broker))


def _signal(worker: int, number: int) -> None:
    """To a worker and its processes, which may have calls of their own to go on with."""
    for pid in memory.family(worker):
        os.kill(pid, number)


def _pid(broker: redis.Redis, kind: str) -> int:
    found = next(one for one in presence.read(broker) if one.kind == kind and one.queue in ("", "bench"))
    return found.pid


def _ended(broker: redis.Redis) -> int:
    totals: Any = broker.hgetall(keys.TOTALS)
    return sum(int(count) for name, count in totals.items() if name.endswith(b":succeeded"))


def machine(broker: redis.Redis, versions: dict[str, str]) -> dict[str, Any]:
    """What the numbers belong to."""
    told: Any = broker.info("server")
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "broker": told.get("valkey_version") or told["redis_version"],
        "versions": {"tundish": version("tundish"), **versions},
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Measure calls against other queues; one JSON object a line.")
    parser.add_argument("--quick", action="store_true", help=f"{', '.join(QUICK_PEERS)} only, fewer rounds")
    parser.add_argument("--peers", type=lambda text: text.split(","), help="only these, by their names with commas")
    parser.add_argument("--rounds", type=int, help="how often each is measured")
    parser.add_argument("--out", type=Path, help="keep the lines here (JSON), and their picture beside it")
    return parser


if __name__ == "__main__":
    main()
