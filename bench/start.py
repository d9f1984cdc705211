"""How long it takes until something answers: the whole system, a gateway alone, the help of the command.

Run it with `make bench B=start`. Each is started anew, in turn with its peer: Valkey and a plain Celery worker, raw
Starlette under uvicorn (and functions-framework where `make bench-peers` has installed it), `celery --help`. Lines
that end with `_cpu` tell the processor time of all processes until then, which other work on the machine changes less.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench import start_peers
from bench.common import ROOT, report
from bench.curves_house import house
from bench.start_process import Started, environment, free_port, started, until_answer
from runtime.host import leash

_NOOP = "def noop() -> None:\n    return None\n"
_PLAIN = (
    "version: 1\nqueues: {q: {concurrency: 2}}\n"
    "functions: {noop: {handler: noop.py:noop, queue: q, triggers: [{http: {}}]}}\n"
)
Measured = dict[str, list[Started]]


def up(file: Path, function: str) -> tuple[Started, Started]:
    """`tundish up` in an empty state folder: until a call is answered, and until every part is ready."""
    with tempfile.TemporaryDirectory() as home:
        port = free_port()
        words = ("-m", "runtime.cli.main", "up", "-f", str(file), "--home", home, "--port", str(port), "--no-reload")
        with started([sys.executable, "-P", *words], environment()) as process:
            url = f"http://127.0.0.1:{port}"
            called = until_answer(process, "POST", f"{url}/function/{function}", 200)
            return called, until_answer(process, "GET", f"{url}/readyz", 200)


def gateway() -> Started:
    """A gateway beside a broker that runs: until it has accepted a call."""
    with house() as here:
        here.deploy(_PLAIN, {"noop.py": _NOOP})
        environ = {name: value for name, value in here.environ.items() if name != leash.VARIABLE}
        with started([sys.executable, "-P", "-m", "gateway"], environ) as process:
            return until_answer(process, "POST", f"http://127.0.0.1:{here.port}/async-function/noop", 202)


def help_of(command: list[str]) -> Started:
    """Until it has ended."""
    began = time.perf_counter()
    nowhere = (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)
    pid = os.posix_spawn(command[0], command, environment(), file_actions=[nowhere])
    _, code, used = os.wait4(pid, 0)
    if code:
        raise SystemExit(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(code)}")
    return Started(time.perf_counter() - began, used.ru_utime + used.ru_stime)


def tell(metric: str, ours: list[Started], peer: list[Started], peer_name: str) -> None:
    report(metric, [one.seconds for one in ours], "s", [one.seconds for one in peer], peer_name)
    report(f"{metric}_cpu", [one.cpu for one in ours], "s", [one.cpu for one in peer], peer_name)


def whole(rounds: int, folder: Path) -> None:
    """The system as it ships, then one without documents."""
    (folder / "noop.py").write_text(_NOOP)
    (folder / "functions.yaml").write_text(_PLAIN)
    projects = {"up": (ROOT / "functions.yaml", "stats"), "up_plain": (folder / "functions.yaml", "noop")}
    calls: Measured = {name: [] for name in projects}
    ready: Measured = {name: [] for name in projects}
    peer = []
    for _ in range(rounds):
        for name, (file, function) in projects.items():
            called, all_ready = up(file, function)
            calls[name].append(called)
            ready[name].append(all_ready)
        peer.append(start_peers.celery())
    for name in projects:
        tell(f"{name}_first_call", calls[name], peer, "valkey and a celery worker, delay().get()")
        tell(f"{name}_ready", ready[name], peer, "valkey and a celery worker, delay().get()")


def pairs(metric: str, rounds: int, ours: Callable[[], Started], peer: Callable[[], Started], name: str) -> None:
    both = [(ours(), peer()) for _ in range(rounds)]
    tell(metric, [one for one, _ in both], [one for _, one in both], name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one round, and the whole system not at all")
    given = parser.parse_args()
    rounds = 1 if given.quick else given.rounds
    folder = Path(sys.executable).parent
    helps = [str(folder / "tundish"), "--help"], [str(folder / "celery"), "--help"]
    pairs("help", rounds, lambda: help_of(helps[0]), lambda: help_of(helps[1]), "celery --help")
    pairs("gateway_first_answer", rounds, gateway, start_peers.starlette, "starlette under uvicorn")
    if start_peers.FUNCTIONS.exists():
        pairs("gateway_first_answer", rounds, gateway, start_peers.functions, "functions-framework")
    else:
        missing = {"missing": "functions-framework", "why": f"{start_peers.FUNCTIONS} is not there: make bench-peers"}
        print(json.dumps({"metric": "gateway_first_answer", **missing}))
    if not given.quick:
        with tempfile.TemporaryDirectory() as made:
            whole(rounds, Path(made))


if __name__ == "__main__":
    main()
