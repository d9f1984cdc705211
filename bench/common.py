"""What every benchmark shares: a running system of its own, and one JSON object a line as the answer."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class System:
    """A running `tundish up` with its state in a temporary folder."""

    url: str
    home: Path
    seconds_to_ready: float
    environ: dict[str, str]
    pid: int


@contextlib.contextmanager
def system(
    file: Path = ROOT / "functions.yaml", environ: Mapping[str, str] | None = None, *, reload: bool = False
) -> Iterator[System]:
    """Start the whole system, wait until it says ready, stop it at the end. `environ` is added to this process's."""
    http = urllib3.PoolManager(retries=False, timeout=5.0)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        command = [sys.executable, "-P", "-m", "runtime.cli.main", "up", "-f", str(file), "--home", str(home)]
        started = time.perf_counter()
        with (home / "up.log").open("wb") as log:
            process = subprocess.Popen(
                [*command, "--port", "0", "--reload" if reload else "--no-reload"],
                stdout=log,
                stderr=log,
                env={**os.environ, **(environ or {})},
            )
        try:
            url = ""
            while True:
                if process.poll() is not None or time.perf_counter() - started > 120:
                    raise SystemExit(f"tundish up did not get ready:\n{(home / 'up.log').read_text()}")
                with contextlib.suppress(OSError, ValueError, urllib3.exceptions.HTTPError):
                    run = json.loads((home / "run.json").read_text())
                    url = run["url"]
                    if http.request("GET", f"{url}/readyz").status == 200:
                        break
                time.sleep(0.02)
            ready = time.perf_counter() - started
            yield System(url, home, ready, {**os.environ, **run["environ"]}, process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)


def report(
    metric: str, values: Sequence[float], unit: str = "s", peer: Sequence[float] = (), peer_name: str = ""
) -> None:
    """One line: the median of ours, of the peer, their ratio, and the spread (5 % to 95 %)."""
    ours = statistics.median(values)
    ordered = sorted(values)
    line = {
        "metric": metric,
        "ours": round(ours, 5),
        "unit": unit,
        "n": len(values),
        "spread": [round(ordered[int(len(ordered) * share)], 5) for share in (0.05, 0.95)],
    }
    if peer:
        theirs = statistics.median(peer)
        line |= {"peer": round(theirs, 5), "peer_name": peer_name, "ratio": round(ours / theirs, 3)}
    print(json.dumps(line), flush=True)


def percentiles(metric: str, values: Sequence[float], peer: Sequence[float] = (), peer_name: str = "") -> None:
    """Two lines: p50 and p99, of ours and of the peer, in seconds."""
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        ours = _share(values, share)
        line: dict[str, Any] = {"metric": f"{metric}_{name}", "ours": round(ours, 5), "unit": "s", "n": len(values)}
        if peer:
            theirs = _share(peer, share)
            line |= {"peer": round(theirs, 5), "peer_name": peer_name, "ratio": round(ours / theirs, 3)}
        print(json.dumps(line), flush=True)


def _share(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def cpu_seconds(pid: int) -> float:
    """CPU time of all processes that descend from one and still live. On a busy machine it says more than a clock."""
    children: dict[int, list[int]] = {}
    ticks: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(folder.name))
            ticks[int(folder.name)] = int(fields[11]) + int(fields[12])
    total, left = 0, [pid]
    while left:
        born = children.get(left.pop(), [])
        total += sum(ticks[child] for child in born)
        left += born
    return total / os.sysconf("SC_CLK_TCK")
