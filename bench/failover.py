"""What a failover costs: calls that were accepted by a master which then dies, behind three real Sentinels.

Four clients submit as fast as they can, the master is killed with SIGKILL, and it is counted what the next master does
not know of all that was accepted: with `broker: {replicas: 1}` and without. In every second case the network between
master and replicas fails half a second before that.

    python -m bench.failover --rounds 3
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from pathlib import Path

from bench.common import report
from runtime.broker import connection as broker
from runtime.deployment.deployment import Deployment
from runtime.errors import BrokerDown
from runtime.invocations.invocation import read_many
from runtime.invocations.submit import Call, accept
from tests.sentinels import Trio, trio
from tests.workers import deployment, until

CLIENTS = 4
_BEFORE_SECONDS = 2.0
_PARTED_SECONDS = 0.5


class Caller(threading.Thread):
    """Submits one call after the other; `accepted` has those that it was told are accepted, and when."""

    def __init__(self, deployed: Deployment) -> None:
        super().__init__(daemon=True)
        self._deployed = deployed
        self.accepted: list[tuple[float, str]] = []
        self.over = threading.Event()

    def run(self) -> None:
        settings = self._deployed.settings
        client = broker.connect(settings.broker_url, settings.project.broker)
        while not self.over.is_set():
            try:
                task_id = accept(client, self._deployed, Call("f", {})).id
            except BrokerDown:
                time.sleep(0.01)
            else:
                self.accepted.append((time.monotonic(), task_id))


def once(servers: Trio, folder: Path, replicas: int, *, parted: bool) -> tuple[int, int, float]:
    """How many were accepted by the first master, how many of these are lost, and for how long nobody was accepted."""
    file = folder / "functions.yaml"
    file.write_text(f"version: 1\nbroker: {{replicas: {replicas}}}\nfunctions: {{f: {{handler: f.py:f}}}}\n")
    (folder / "f.py").write_text("def f() -> None: ...\n")
    deployed = deployment(file, servers.url)
    callers = [Caller(deployed) for _ in range(CLIENTS)]
    for caller in callers:
        caller.start()
    time.sleep(_BEFORE_SECONDS)
    first = servers.master
    if parted:
        servers.part(first)
        time.sleep(_PARTED_SECONDS)
    servers.kill(first)
    servers.join(first)
    killed = time.monotonic()
    until(lambda: any(at > killed + 0.2 for caller in callers for at, _ in caller.accepted[-1:]), 60)
    for caller in callers:
        caller.over.set()
        caller.join()
    every = sorted(one for caller in callers for one in caller.accepted)
    ids = [task_id for at, task_id in every if at <= killed + 0.2]
    again = next(at for at, _ in every if at > killed + 0.2) - killed
    client = broker.connect(servers.url)
    known = [one for start in range(0, len(ids), 500) for one in read_many(client, ids[start : start + 500]).values()]
    return len(ids), len(ids) - sum(one is not None for one in known), again


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    for replicas, parted in ((0, False), (0, True), (1, False), (1, True)):
        counted = []
        for _ in range(given.rounds):
            with tempfile.TemporaryDirectory() as folder, trio(Path(folder) / "servers") as servers:
                counted.append(once(servers, Path(folder), replicas, parted=parted))
        name = f"replicas: {replicas}{', network failed first' if parted else ''}"
        report(f"accepted, {name}", [found[0] for found in counted], "")
        report(f"lost of these, {name}", [found[1] for found in counted], "")
        report(f"until the next was accepted, {name}", [found[2] for found in counted])


if __name__ == "__main__":
    main()
