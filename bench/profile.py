"""Where each microsecond of a call goes: processor time of gateway, worker and child, by module.

Run it with `make bench B=profile`; it needs py-spy (`make bench-peers`), which looks into running processes from
outside, so what is measured is what runs everywhere. A share is of the samples in which a thread holds Python's lock,
by the innermost module or library; what C code and the system take counts for the Python function that called it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from bench import memory
from bench.curves_house import House, house
from bench.curves_load import opened
from bench.index_clients import Ask

_YAML = (
    "version: 1\nqueues: {q: {concurrency: 1}}\n"
    "functions: {noop: {handler: code.py:noop, queue: q, triggers: [{http: {}}]}}\n"
)
_CODE = "def noop() -> None:\n    return None\n"
_SPY = Path(sys.prefix, "peers", "py-spy", "bin", "py-spy")
_RATE = 400
"""Samples a second."""
_OURS = ("functions", "gateway", "runtime", "triggers")
_LIBRARY = re.compile(r"site-packages|python3\.\d+")
_FRAME = re.compile(r"\((?P<file>[^()]*?)(?::\d+)?\)$")


@dataclass(frozen=True, slots=True)
class Row:
    """A module of ours or a library: microseconds of processor time a call."""

    process: str
    name: str
    micros: float


def rows(process: str, stacks: str, micros: float, most: int = 14) -> list[Row]:
    """From py-spy's collapsed stacks (`frame;frame count` a line); `micros` is what a call takes in all."""
    counts: Counter[str] = Counter()
    for line in stacks.splitlines():
        frames, _, count = line.rpartition(" ")
        counts[_known(frames.split(";"))] += int(count)
    total = sum(counts.values()) or 1
    found = [Row(process, name, count / total * micros) for name, count in counts.most_common(most)]
    rest = micros - sum(row.micros for row in found)
    return [*found, Row(process, "the rest", rest)] if len(counts) > most else found


def _known(frames: list[str]) -> str:
    """The innermost frame that has a file: a module of ours by its name, a library by that of its package."""
    for frame in reversed(frames):
        if found := _FRAME.search(frame):
            parts = Path(found["file"]).with_suffix("").parts
            ours = next((at for at, part in enumerate(parts) if part in _OURS), None)
            if ours is not None:
                return ".".join(parts[ours:])
            last = max((at for at, part in enumerate(parts) if _LIBRARY.fullmatch(part)), default=-1)
            parts = parts[last + 1 :]
            return parts[0] if len(parts) > 1 else f"{parts[0]} (Python's own)"
    return "elsewhere"


def record(here: House, seconds: float) -> list[Row]:
    """Four clients call for so long, while somebody looks into each process."""
    spy = str(_SPY) if _SPY.exists() else shutil.which("py-spy")
    if spy is None:
        raise SystemExit(f"py-spy is not there: {_SPY}. `make bench-peers` installs it.")
    worker, gateway = here.worker("q"), here.gateway()
    here.ready(worker)
    family = memory.family(worker.pid)
    asks = [Ask(here.port, [b"{}"], "/function/noop") for _ in range(4)]

    async def calls(seconds: float) -> int:
        done, until = 0, time.perf_counter() + seconds

        async def one(ask: Ask) -> None:
            nonlocal done
            while time.perf_counter() < until:
                await ask.one(0)
                done += 1

        async with opened(asks):
            await asyncio.gather(*(one(ask) for ask in asks))
        return done

    asyncio.run(calls(1.0))
    pids = {"gateway": gateway.pid, "worker": family[1], "child": family[2]}
    before = {name: memory.processor(pid) for name, pid in pids.items()}
    done = asyncio.run(calls(seconds))  # its price first: who looks takes time, too
    price = {name: (memory.processor(pid) - before[name]) / done * 1e6 for name, pid in pids.items()}
    found: list[Row] = []
    for name, pid in pids.items():
        out = here.folder / f"{name}.stacks"
        words = [spy, "record", "--gil", "--pid", str(pid), "--duration", str(int(seconds)), "--rate", str(_RATE)]
        words += ["--format", "raw", "--output", str(out)]
        with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as looking:
            asyncio.run(calls(seconds + 1))
            looking.wait(60)
        found += rows(name, out.read_text(), price[name])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=6.0)
    given = parser.parse_args()
    with house() as here:
        here.deploy(_YAML, {"code.py": _CODE})
        for row in record(here, given.seconds):
            line = {"metric": f"profile_{row.process}", "part": row.name, "ours": round(row.micros, 1), "unit": "µs"}
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
