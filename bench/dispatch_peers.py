"""Peers of the dispatch benchmark, started on one broker: their workers, their servers, and a client of each.

What a peer needs is installed in an environment of its own (`make bench-peers`), since some of them want another
redis-py than we do. One that is not there is told to be missing.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench.common import ROOT
from bench.peers.plans import Plan

ENVIRONMENTS = Path(sys.prefix, "peers")
RESULTS = 8
"""A peer's results are so many databases above its queue."""

_WAIT_SECONDS = 60.0

_VERSIONS = """
import importlib.metadata, importlib.util, json, sys
print(json.dumps({
    name: importlib.metadata.version(distribution)
    for name, (module, distribution) in json.load(sys.stdin).items() if importlib.util.find_spec(module)
}))
"""


class Ended(SystemExit):
    """A client is gone: the benchmark ends, unless it can do without that peer."""


class Client:
    """The process that calls a peer, or us."""

    def __init__(self, name: str, process: subprocess.Popen[str], log: Path) -> None:
        self.name, self._process, self._log = name, process, log

    def ask(self, do: str, **order: Any) -> dict[str, Any]:
        """Carry an order of bench/peers/drive.py out. Raises Ended if the client has ended."""
        assert self._process.stdin and self._process.stdout
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps({"do": do, **order}) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise Ended(f"The client of {self.name} ended:\n{self._log.read_text()[-2000:]}")
        told: dict[str, Any] = json.loads(line)
        return told

    def ended(self) -> int:
        return int(self.ask("ended")["ended"])


@dataclass(frozen=True, slots=True)
class Running:
    """A peer that answers, or we."""

    name: str
    client: Client
    pids: Sequence[int]
    """Those of its processes that started the others."""
    signal: Callable[[int], None]
    """Send this to all that takes work from its queue."""
    ended: Callable[[], int]
    """How many calls have ended, since whenever: only differences count."""
    count: int = 1000
    clients: int = 256
    queue: bool = True
    polls: bool = False

    @contextlib.contextmanager
    def awake(self) -> Iterator[None]:
        """While it is measured: workers that poll are stopped at all other times."""
        if self.polls:
            self.signal(signal.SIGCONT)
        try:
            yield
        finally:
            if self.polls:
                self.signal(signal.SIGSTOP)


def installed(plans: Sequence[Plan], environments: Path = ENVIRONMENTS) -> dict[str, str]:
    """The versions of those that are there, by the name of the peer."""
    asked: dict[Path, dict[str, Sequence[str]]] = defaultdict(dict)
    for plan in plans:
        asked[interpreter(plan, environments)][plan.name] = (plan.module, plan.distribution)
    found: dict[str, str] = {}
    for python, names in asked.items():
        if python.exists():
            done = subprocess.run(
                [python, "-c", _VERSIONS], input=json.dumps(names), capture_output=True, text=True, check=True
            )
            found |= json.loads(done.stdout)
    return found


def interpreter(plan: Plan, environments: Path = ENVIRONMENTS) -> Path:
    return Path(sys.executable) if plan.ours else environments / plan.distribution / "bin" / "python"


@contextlib.contextmanager
def started(plan: Plan, broker_url: str, folder: Path) -> Iterator[Running]:
    """A peer's servers and its client; it has answered once. Raises SystemExit if it does not."""
    python = interpreter(plan)
    server_url, database = broker_url.rsplit("/", 1)[0], plan.database or 0
    url, results_url = f"{server_url}/{database}", f"{server_url}/{database + RESULTS}"
    port = free_port()
    words = {"python": python, "bin": python.parent, "ours": sys.executable, "url": url, "port": port}
    words["folder"] = ROOT / "bench" / "peers"
    # Celery and Flower would take what is theirs by name.
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CELERY_", "FLOWER_"))}
    environ = {**kept, "PYTHONPATH": str(ROOT), **plan.environ}
    environ |= {"BENCH_BROKER_URL": url, "BENCH_RESULTS_URL": results_url}
    with contextlib.ExitStack() as stack:
        pids = []
        for number, command in enumerate(plan.servers):
            log = folder / f"{plan.name}-{number}.log"
            made = [word.format(**words) for word in command.split()]
            pids.append(stack.enter_context(server(made, environ, folder, log)).pid)
        log = folder / f"{plan.name}-0.log"
        if "{port}" in plan.client:
            _listening(port, log)
        made = [word.format(**words) for word in plan.client.split()]
        found = stack.enter_context(client(plan.name, made, environ, folder))
        told = found.ask("calls", function="noop", given={}, clients=1, seconds=0)
        if told["errors"]:
            raise SystemExit(f"{plan.name} did not answer: {told['error']}\n{log.read_text(errors='replace')[-2000:]}")
        queue, reach = plan.database is not None, partial(_signal, pids)
        peer = Running(plan.name, found, pids, reach, found.ended, plan.count, plan.clients, queue, plan.polls)
        with peer.awake():
            pass
        yield peer


@contextlib.contextmanager
def client(name: str, command: Sequence[str], environ: Mapping[str, str], folder: Path) -> Iterator[Client]:
    """A process that carries out orders."""
    log = folder / f"{name}-client.log"
    with log.open("wb") as errors:
        made = subprocess.Popen(
            command, env=environ, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    try:
        yield Client(name, made, log)
    finally:
        made.kill()
        made.communicate()


@contextlib.contextmanager
def server(command: Sequence[str], environ: Mapping[str, str], folder: Path, log: Path) -> Iterator[Any]:
    """A process with a group of its own, all of which is gone at the end."""
    with log.open("wb") as output:
        made = subprocess.Popen(
            command,
            env=environ,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield made
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(made.pid, signal.SIGKILL)  # what it holds is thrown away
        made.wait()


def none_failed(told: Mapping[str, Any], who: str) -> None:
    """Raises SystemExit where a call went wrong."""
    if told["errors"]:
        raise SystemExit(f"{who}: {told['errors']} calls failed, the first: {told['error']}")


def _signal(groups: Sequence[int], number: int) -> None:
    for group in groups:
        os.killpg(group, number)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _listening(port: int, log: Path) -> None:
    """Wait until somebody listens there. Raises SystemExit."""
    give_up = time.monotonic() + _WAIT_SECONDS
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return
        if time.monotonic() > give_up:
            raise SystemExit(f"Nobody listens on port {port}:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.05)
