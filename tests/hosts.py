"""The same functions.yaml on three hosts, one broker and one store: one host is cut off, one killed, one is far away.

`python -m tests.hosts` prints what came of it as JSON. Root on Linux (tests/netns.py).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

from runtime import keys
from runtime.broker import connection as broker
from runtime.broker import presence
from runtime.deployment.deployment import Deployment
from runtime.host.free_ports import Ports
from runtime.index.port import FaissIndex
from runtime.invocations.invocation import Invocation, read_many
from runtime.invocations.submit import Call, submit
from runtime.store.port import MinioStore
from runtime.system import services
from tests import netns
from tests.cable import DEVICE
from tests.indexing import put, vector, write
from tests.workers import SAMPLES, deployment, environment, until

PROJECT = """
version: 1
queues: {work: {concurrency: 2}}
defaults: {queue: work, timeout: 1m}
functions:
  slow: {handler: life.py:slow, triggers: [{http: {}}]}
"""
HOSTS = 3
PORT = "8000"
PAUSE_SECONDS = 0.1
"""Between two calls. A worker does some six a second."""
SLOW_MS, SLOW_KBIT = 80.0, 1000.0
"""What a frame takes on the slow link, each way, and what it carries in a second; where nothing else is said."""
DIMENSIONS = 384
STALL_SECONDS = 3.0
"""How long nothing at all passes it: longer than any retransmission waits at first, shorter than a lease (10 s)."""


class House:
    """Broker and store on the switch, and what runs on the hosts."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.notes = folder, folder / "notes"
        self.file = folder / "functions.yaml"
        self.file.write_text(PROJECT)
        shutil.copy(SAMPLES / "life" / "life.py", folder)
        netns.prepare()
        self.hosts = [
            netns.Host(number, through_us=number == HOSTS and DEVICE.exists()) for number in range(1, HOSTS + 1)
        ]
        self._running: list[subprocess.Popen[bytes]] = []
        self.environ = self._services()
        self.client = broker.connect(self.environ["CELERY_BROKER_URL"])
        self.deployed: Deployment = deployment(self.file, self.environ["CELERY_BROKER_URL"])
        self.workers: dict[str, subprocess.Popen[bytes]] = {}

    def _services(self) -> dict[str, str]:
        """Broker and store, as `tundish up` starts them, only for others to reach. The variables that name them."""
        home, ports = self.folder / "services", Ports(self.folder)
        credentials = services.load_credentials(home)
        valkey, url = services.valkey(home, ports, credentials)
        weed, store = services.seaweedfs(home, ports, credentials)
        for service, more in ((valkey, ("--bind", "127.0.0.1", netns.SWITCH)), (weed, ())):
            argv = [word.replace("ip=127.0.0.1", f"ip={netns.SWITCH}") for word in service.argv]
            argv = [word.replace("ip.bind=127.0.0.1", f"ip.bind={netns.SWITCH}") for word in argv]
            with (self.folder / f"{service.name}.log").open("wb") as log:
                self._running.append(
                    subprocess.Popen(
                        [*argv, *more], env=dict(service.environ), cwd=service.folder, stdout=log, stderr=log
                    )
                )
        store = store.model_copy(update={"endpoint": store.endpoint.replace("127.0.0.1", netns.SWITCH)})
        until(valkey.ready)
        until(lambda: services.store_answers(store), 60)
        self.store = MinioStore(store)
        self.store.ensure_bucket(store.bucket)
        more_environ = {
            "MINIO_ENDPOINT": store.endpoint,
            "MINIO_ACCESS_KEY": store.access_key,
            "MINIO_SECRET_KEY": store.secret_key,
            "TUNDISH_FILE": str(self.file),
            "TUNDISH_PORT": PORT,
        }
        return environment(url.replace("127.0.0.1", netns.SWITCH), more_environ)

    def start(self, host: netns.Host, module: str, *words: str) -> subprocess.Popen[bytes]:
        environ = {**self.environ, "TUNDISH_HOME": str(self.folder / host.name)}
        process = host.start([sys.executable, "-P", "-m", module, *words], environ)
        self._running.append(process)
        return process

    def work(self, host: netns.Host) -> None:
        self.workers[host.name] = self.start(host, "runtime.worker", "-Q", "work", "-n", f"work@{host.name}")

    def wait(self, name: str, kind: str = "worker") -> None:
        """Until a process says that it is ready; its name begins with that."""

        def there() -> bool:
            found = presence.read(self.client)
            return any(one.kind == kind and one.ready and one.name.startswith(name) for one in found)

        until(there, 60)

    def close(self) -> None:
        for process in reversed(self._running):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL) if os.getpgid(process.pid) == process.pid else process.kill()
            process.wait()


class Callers(threading.Thread):
    """Submits a call every few milliseconds until it is told to stop."""

    def __init__(self, house: House, pause: float) -> None:
        super().__init__()
        self._house, self._pause = house, pause
        self.ids: list[str] = []
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(self._pause):
            number = len(self.ids)
            call = Call("slow", {"path": str(self._house.notes), "text": f"call-{number}"})
            self.ids.append(submit(self._house.client, self._house.deployed, call))


def story(folder: Path, seconds: float, slow_ms: float, slow_kbit: float) -> dict[str, Any]:
    house = House(folder)
    try:
        return _story(house, seconds, slow_ms, slow_kbit)
    finally:
        house.close()


def _story(house: House, seconds: float, slow_ms: float, slow_kbit: float) -> dict[str, Any]:
    first, second, third = house.hosts
    house.start(first, "triggers.beat")
    for host in (first, third):
        house.start(host, "gateway")
    for host in house.hosts:
        house.work(host)
    house.wait("beat", "beat")
    for host in (first, third):
        house.wait(host.name, "gateway")
    for host in house.hosts:
        house.wait(f"work@{host.name}")
    serving = {one.name: one.queue for one in presence.read(house.client) if one.kind == "worker"}
    routes = {host.name: host.inside(routed) for host in (first, third)}
    calls = Callers(house, PAUSE_SECONDS)
    calls.start()
    slowed = time.time()
    slow = third.cable
    if slow:
        slow.slow(slow_ms / 1000, slow_kbit * 1000)
    busy(house, second)
    second.plug(into=False)
    cut = time.monotonic()
    time.sleep(min(2.0, seconds))
    busy(house, first)
    os.killpg(house.workers[first.name].pid, signal.SIGKILL)
    killed = time.monotonic()
    lists = until(lambda: waiting(house), 30)
    versions = published(house, [first, third])
    busy(house, third)
    stalled = [one.id for one in running(house) if one.worker == f"work@{third.name}"]
    if slow:
        slow.stall(STALL_SECONDS)
    time.sleep(max(0.0, seconds - (time.monotonic() - cut)))
    second.plug(into=True)
    back = time.monotonic()
    until(lambda: began_after(house, second, time.time() - (time.monotonic() - back)), 60)
    returned = time.monotonic() - back
    calls.over.set()
    calls.join()
    records = settled(house, calls.ids)
    lines = Counter(house.notes.read_text().split())
    return {
        "calls": len(calls.ids),
        "states": Counter(one.state for one in records),
        "by_host": Counter((one.worker or "").rpartition("@")[2] for one in records),
        "never_done": sum(not lines[f"call-{number}"] for number in range(len(calls.ids))),
        "done_twice": sum(lines[f"call-{number}"] > 1 for number in range(len(calls.ids))),
        "attempts_lost": sum(one.lost for one in records),
        "workers": serving,
        "routes": routes,
        "lists": lists,
        "slow_link": slow
        and {
            "one_way_ms": slow_ms,
            "kbit_per_second": slow_kbit,
            "stalled_seconds": STALL_SECONDS,
            "ran_in_the_stall": len(stalled),
            "lost_by_the_stall": sum(one.lost for one in records if one.id in stalled),
            "calls": sum((one.worker or "").endswith(third.name) and (one.started or 0) > slowed for one in records),
            "frames": slow.carried,
            "dropped": slow.dropped,
        },
        "cut_off_seconds": round(back - cut, 1),
        "killed_after_seconds": round(killed - cut, 1),
        "works_again_after_seconds": round(returned, 2),
        "version_seconds": versions,
    }


def busy(house: House, host: netns.Host) -> None:
    """Until that host runs a call: what is taken from it is something."""
    until(lambda: any(one.worker == f"work@{host.name}" for one in running(house)), 30)


def began_after(house: House, host: netns.Host, moment: float) -> bool:
    return any(one.worker == f"work@{host.name}" and (one.started or 0) > moment for one in running(house))


def running(house: House) -> list[Invocation]:
    ids: Any = house.client.zrange(keys.RUNNING, 0, -1)
    found = read_many(house.client, [task_id.decode() for task_id in ids]).values()
    return [one for one in found if one and one.state == "running"]


def waiting(house: House) -> list[str]:
    """The lists in which calls wait: an empty one is not there, so this is asked while two of three hosts are gone."""
    found: Any = house.client.keys("work*")
    return sorted(name.decode() for name in found)


def routed() -> dict[str, Any]:
    """What the gateway of this host serves, and where it sends it."""
    with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/functions", timeout=5) as answer:
        told: dict[str, Any] = json.load(answer)
    return {one["name"]: [one["queue"], one["triggers"]] for one in told["functions"]}


def settled(house: House, ids: list[str]) -> list[Invocation]:
    """The records when all have ended."""

    def look() -> list[Invocation] | None:
        found = [one for one in read_many(house.client, ids).values() if one]
        return found if len(found) == len(ids) and all(one.terminal for one in found) else None

    return until(look, 90)


def published(house: House, hosts: list[netns.Host]) -> dict[str, list[float]]:
    """Publish three versions of an index; the seconds after which each host's gateway answered from each of them."""
    index = FaissIndex(house.store, house.client, house.folder / "cache")
    taken: dict[str, list[float]] = {host.name: [] for host in hosts}
    for number in range(3):
        write(index, f"batch-{number}", put(f"doc-{number}", number + 1), dimensions=DIMENSIONS)
        generation = index.build("default").generation
        began = time.monotonic()
        for host in hosts:
            until(lambda host=host, generation=generation: host.inside(version) >= generation, 30)  # type: ignore[misc]
            taken[host.name].append(round(time.monotonic() - began, 3))
    return taken


def version() -> int:
    """Which version of the index a search is answered from by the gateway of this host."""
    asked = json.dumps({"vector": vector("any", DIMENSIONS).tolist(), "k": 1}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}/search", asked, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=5) as answer:
        told: dict[str, Any] = json.load(answer)
    return int(told.get("generation") or 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=13.0, help="How long a host is cut off.")
    parser.add_argument("--slow-ms", type=float, default=SLOW_MS, help="What the slow link takes, each way.")
    parser.add_argument("--slow-kbit", type=float, default=SLOW_KBIT, help="What it carries in a second.")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if why := "" if given.inside else netns.missing():
        sys.stderr.write(f"{why}\n")
        return 2
    if not given.inside:
        words = [sys.executable, "-m", "tests.hosts", "--inside", *sys.argv[1:]]
        return subprocess.run([*netns.COMMAND, *words], check=False).returncode
    with tempfile.TemporaryDirectory(prefix="tundish-hosts-") as folder:
        print(json.dumps(story(Path(folder), given.seconds, given.slow_ms, given.slow_kbit), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
