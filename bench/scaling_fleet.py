"""A thousand workers on one broker, simulated: batches of `embed_all` go through the real scripts, nothing is embedded.

A real broker, a real map with a child for each batch, and for each worker what its processes say: a take for the
processes that are free, renewals of its leases every two seconds of the time that a batch would have taken, an end with
the result of a batch. Told is what a batch costs the broker: its processor time, bytes, commands, memory.

    python -m bench.scaling_fleet --workers 1000 --batches 20000
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import redis

from bench.common import ROOT
from bench.scaling_batch import figures
from functions._outcome import EmbedResult
from runtime import keys
from runtime.attempts.attempt import LEASE_MS, Attempt, finish, suspend
from runtime.attempts.taking import Taken, Taking
from runtime.broker import scripts
from runtime.broker.connection import connect
from runtime.broker.presence import RENEW_SECONDS
from runtime.config.load import load_settings
from runtime.context import Store, Suspended
from runtime.deployment.deployment import Deployment, load_deployment
from runtime.invocations import admission
from runtime.invocations.blobs import StoreBlobs
from runtime.invocations.calls import Origin, RedisCalls
from runtime.invocations.submit import Call, submit
from tests.brokers import own_broker

QUEUE, PROCESSES = "embedding", 2
THREADS = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--batches", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=7.0, help="that a batch would have taken")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tundish-bench-") as folder, own_broker(Path(folder, "broker")) as broker:
        for metric, (value, unit) in simulated(broker.url, given.workers, given.batches, given.seconds).items():
            line = {"metric": metric, "ours": float(f"{value:.4g}"), "unit": unit, "workers": given.workers}
            print(json.dumps(line), flush=True)


def simulated(url: str, workers: int, count: int, seconds: float) -> dict[str, tuple[float, str]]:
    """What a batch costs the broker when it is submitted, and when one of `workers` works it off."""
    environ = {**os.environ, "CELERY_BROKER_URL": url}
    deployed = load_deployment(load_settings(environ, file=ROOT / "functions.yaml"), environ)
    client = connect(url)
    start = figures(client)
    parent = _sent(client, deployed, count, workers * PROCESSES)
    sent = figures(client)
    fleet = Fleet(url, deployed, workers, int(seconds / RENEW_SECONDS))
    done = fleet.work(count)
    ended = figures(client)
    if done != count or fleet.woken != [parent]:
        raise SystemExit(f"{done} of {count} batches were worked off; woken was {fleet.woken}, not {parent}")
    return {
        "submit_cpu": ((sent["cpu"] - start["cpu"]) / count * 1e3, "ms of the broker for a batch"),
        "submit_bytes": ((sent["received"] - start["received"]) / count, "bytes to the broker for a batch"),
        "waiting_memory": ((sent["memory"] - start["memory"]) / count, "bytes of memory for a batch that waits"),
        "work_cpu": ((ended["cpu"] - sent["cpu"]) / count * 1e3, "ms of the broker for a batch"),
        "work_bytes": ((ended["received"] - sent["received"]) / count, "bytes to the broker for a batch"),
        "work_bytes_back": ((ended["sent"] - sent["sent"]) / count, "bytes from the broker for a batch"),
        "work_commands": (fleet.asked / count, "round trips for a batch"),
        "kept_memory": ((ended["memory"] - start["memory"]) / count, "bytes of memory for a batch that has ended"),
    }


def _sent(client: redis.Redis, deployed: Deployment, count: int, in_flight: int) -> str:
    """A call of `embed_all` that has a child for each batch, and waits for them."""
    parent = submit(client, deployed, Call("embed_all", {"bucket": "documents"}))
    spec = deployed.find("embed_all").spec
    taking = Taking(deployed, "maintenance@sim")
    lists = keys.queue_lists(spec.queue)
    client.script_load(scripts.source("take"))
    (taken,) = _take(client, taking, spec.queue, lists, 1)
    assert taken.begun, taken
    attempt = taken.begun.attempt()
    items = [("embed_batch", {"part": f"sources/default/runs/{parent}/{n:06}.json"}) for n in range(count)]
    try:
        calls = RedisCalls(client, deployed, Origin(parent, parent, "embed_all"), StoreBlobs(_no_store))
        calls.gather(items, in_flight, far=None, chain=False)
    except Suspended as pause:
        suspend(client, attempt, pause.fan, deployed.settings.project.retention)
    return parent


def _no_store() -> Store:
    raise AssertionError("nothing here is so large that it goes by reference")


def _take(client: redis.Redis, taking: Taking, queue: str, lists: Sequence[str], free: int) -> list[Taken]:
    """Up to `free` messages, begun: what a worker's parent process sends behind its pop."""
    answer: Any = client.execute_command(*taking.words(queue, lists, free, free))  # type: ignore[no-untyped-call]
    return taking.read(answer, lists)


class Fleet:
    """The workers, by a few threads: each of them speaks for many."""

    def __init__(self, url: str, deployed: Deployment, count: int, renewals: int) -> None:
        self._url, self._deployed, self._renewals = url, deployed, renewals
        self._names = [f"{QUEUE}@host-{number // 4}-{number}" for number in range(count)]
        self._lock, self.asked = threading.Lock(), 0
        self.woken: list[str] = []
        """Parents that may go on, as the end of a last child says."""
        told = EmbedResult("default", f"embeddings/default/batches/{'0' * 64}/", "0" * 64, 1000, 1000)
        self._result = json.dumps(asdict(told))

    def work(self, count: int) -> int:
        """Until `count` batches are done, or nothing is left for any of them."""
        with ThreadPoolExecutor(THREADS) as pool:
            return sum(pool.map(self._work, range(THREADS)))

    def _work(self, part: int) -> int:
        client, done, asked, idle = connect(self._url), 0, 0, False
        workers = [(name, Taking(self._deployed, name)) for name in self._names[part::THREADS]]
        lists, spec = keys.queue_lists(QUEUE), self._deployed.find("embed_batch").spec
        client.script_load(scripts.source("take"))
        while not idle:
            idle = True
            for name, taking in workers:
                taken = _take(client, taking, QUEUE, lists, PROCESSES)
                begun = [one.begun.attempt() for one in taken if one.begun]
                asked += 1
                if not begun:
                    continue
                idle = False
                asked += self._renewed(client, name, begun)
                for attempt in begun:
                    written = finish(client, spec, attempt, "succeeded", {"result": self._result})
                    for gate in written.gates:
                        admission.admit_next(client, self._deployed, gate)
                    asked += 1 + len(written.gates)
                    self.woken += [written.parent] if written.parent else []
                    done += bool(written)
        with self._lock:
            self.asked += asked
        return done

    def _renewed(self, client: redis.Redis, name: str, begun: Sequence[Attempt]) -> int:
        for _ in range(self._renewals):
            scripts.run(client, "renew", (), [name, LEASE_MS, *(one.id for one in begun)])
        return self._renewals


if __name__ == "__main__":
    main()
