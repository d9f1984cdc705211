"""What many workers cost their broker: memory, connections and processor time, with nothing else to do.

A real worker is started first, and its connections are counted. Then so many are simulated as are asked for: each with
as many connections, a heartbeat every two seconds and a blocking pop each second, as a worker has them. What the
upkeep, a gateway and `tundish workers` do with so many names is timed as well.

    python -m bench.fleet --workers 1000
"""

from __future__ import annotations

import argparse
import resource
import selectors
import socket
import tempfile
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import redis

from bench.common import report
from runtime import keys
from runtime.broker import presence, scripts
from runtime.broker.connection import connect
from runtime.broker.presence import RENEW_SECONDS, TTL_SECONDS, Process
from runtime.config.settings import Project, Queue
from runtime.invocations import workload
from runtime.invocations.submit import Call, submit
from tests.brokers import Broker
from tests.workers import SAMPLES, deployment, worker

FILE = SAMPLES / "life" / "functions.yaml"
_MEASURE_SECONDS = 20.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=1000)
    given = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory() as folder:
        broker = Broker(Path(folder) / "broker")
        broker.start(maxclients=hard - 100)
        client = connect(broker.url)
        each = connections_of_one(client, broker.url)
        report("connections of one worker", [each], "")
        before = figures(client)
        fleet(broker.url, client, given.workers, each, before)
        broker.kill()


def connections_of_one(client: redis.Redis, url: str) -> int:
    """What a real worker with two processes has open when it has run something and rests."""
    before = len(_clients(client))
    with worker(FILE, url, "work"):
        deployed = deployment(FILE, url)
        for _ in range(4):
            submit(client, deployed, Call("note", {"path": ""}))
        time.sleep(6.0)
        return len(_clients(client)) - before


def _clients(client: redis.Redis) -> list[Any]:
    found: Any = client.client_list()
    return list(found)


def figures(client: redis.Redis) -> dict[str, float]:
    told: Any = client.info()
    cpu = told["used_cpu_user"] + told["used_cpu_sys"]
    return {"memory": told["used_memory"], "clients": told["connected_clients"], "cpu": cpu, "at": time.monotonic()}


def fleet(url: str, client: redis.Redis, count: int, each: int, before: dict[str, float]) -> None:
    """Let `count` workers be there for a while, and say what they cost."""
    workers = Workers(url, client, count, each)
    workers.start()
    try:
        time.sleep(3 * RENEW_SECONDS)
        begun, pings = figures(client), []
        while time.monotonic() - begun["at"] < _MEASURE_SECONDS:
            pings.append(_timed(client.ping))
            time.sleep(0.05)
        ended = figures(client)
        report("connections", [ended["clients"] - before["clients"]], "")
        report("memory", [(ended["memory"] - before["memory"]) / 2**20], "MiB")
        report("memory of a worker", [(ended["memory"] - before["memory"]) / count / 1024], "KiB")
        share = (ended["cpu"] - begun["cpu"]) / (ended["at"] - begun["at"]) * 100
        report("processor of the broker", [share], "% of a core")
        report("an answer meanwhile", pings)
        project = Project(queues={"work": Queue()}, functions={})
        report("who is alive", [_timed(lambda: presence.read(client)) for _ in range(10)])
        report("what all of them hold", [_timed(lambda: _held(client)) for _ in range(10)])
        report("tundish workers", [_timed(lambda: workload.read(client, project)) for _ in range(10)])
    finally:
        workers.over.set()
        workers.join()


class Workers(threading.Thread):
    """All workers as the broker sees them: plain sockets, since so many clients would take more than a server does."""

    def __init__(self, url: str, client: redis.Redis, count: int, each: int) -> None:
        super().__init__(daemon=True)
        self._url, self._client, self.over = urlsplit(url), client, threading.Event()
        self._ready = selectors.DefaultSelector()
        self._processes = [
            Process(
                "worker", f"work@host-{n // 4}-{n}", n + 2, f"host-{n // 4}", time.time(), queue="work", concurrency=2
            )
            for n in range(count)
        ]
        lists = keys.queue_lists("work")
        self._pop = _command("BLMPOP", 1, len(lists), *lists, "RIGHT", "COUNT", 2)
        words = [self._pop, *[_command("SUBSCRIBE", keys.STOP_CHANNEL)] * 2, *[_command("PING")] * (each - 3)]
        self._sockets = [self._connect(word) for _ in range(count) for word in words]

    def _connect(self, word: bytes) -> socket.socket:
        made = socket.create_connection((str(self._url.hostname), int(self._url.port or 0)), timeout=60)
        made.sendall(_command("AUTH", str(self._url.password)))
        made.recv(64)
        made.sendall(word)
        if word == self._pop:
            self._ready.register(made, selectors.EVENT_READ)
        else:
            made.recv(256)
        return made

    def run(self) -> None:
        """Answer each empty pop with the next one, and let the hearts beat."""
        beat = 0.0
        while not self.over.is_set():
            for key, _ in self._ready.select(0.1):
                sock: Any = key.fileobj
                sock.recv(4096)
                sock.sendall(self._pop)
            if time.monotonic() - beat >= RENEW_SECONDS:
                beat = time.monotonic()
                with self._client.pipeline(transaction=False) as pipe:
                    for process in self._processes:
                        presence.write(pipe, process)
                        pipe.eval(scripts.source("hold"), 1, keys.held(process.name), TTL_SECONDS, 1)
                    pipe.execute()
        for made in self._sockets:
            made.close()


def _command(*words: object) -> bytes:
    """A command as it goes over the wire."""
    parts = [str(word).encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


def _timed(look: Any) -> float:
    moment = time.perf_counter()
    look()
    return time.perf_counter() - moment


def _held(client: redis.Redis) -> Any:
    names = [keys.held(process.name) for process in presence.read(client) if process.kind == "worker"]
    return client.sunion(names)


if __name__ == "__main__":
    main()
