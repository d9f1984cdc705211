"""A gateway over a built index, measured: start → first answer, published → visible, and 32 clients at once."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss

from bench import memory
from bench.alone import keep_apart
from bench.common import ROOT
from bench.index_clients import Ask, clients
from bench.index_data import Corpus, Vectors
from bench.index_house import INDEX, House
from bench.index_search import AT_ONCE, K
from gateway.state import Gateway
from runtime import keys
from runtime.config import snapshot
from runtime.deployment.deployment import Deployment, describe_project
from runtime.host.free_ports import Ports
from runtime.index.search import Search

_GIVE_UP_SECONDS = 120.0
_LOOK_SECONDS = 0.002


@dataclass(frozen=True, slots=True)
class Running:
    """A gateway's process and when it was started."""

    port: int
    pid: int
    began: float

    def ask(self, vector: Vectors) -> dict[str, Any]:
        """The answer to one search over a connection of its own; empty while there is none."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("POST", "/search", body(vector), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            told: dict[str, Any] = json.loads(answer.read()) if answer.status == 200 else {}
            return told
        except OSError:
            return {}
        finally:
            connection.close()


def body(vector: Vectors) -> bytes:
    return json.dumps({"vector": vector.tolist(), "k": K}).encode()


@contextlib.contextmanager
def gateway(place: House) -> Iterator[Running]:
    """A gateway as `tundish up` starts it: the functions are described already."""
    home = Path(place.home)
    described = home / "description.json"
    environ = {**os.environ, **place.environ(), "TUNDISH_FILE": str(ROOT / "functions.yaml"), "TUNDISH_HOME": str(home)}
    if not described.exists():
        settings = place.settings(environ)
        snapshot.prepare(described, settings.project, describe_project(settings, environ))
        snapshot.commit(described)
    port = Ports(home).take("gateway")
    environ |= {"TUNDISH_DESCRIPTION": str(described), "TUNDISH_PORT": str(port), "PYTHONPATH": str(ROOT)}
    with (home / "gateway.log").open("ab") as log:
        began = time.perf_counter()
        process = subprocess.Popen([sys.executable, "-P", "-m", "gateway"], env=environ, stdout=log, stderr=log)
        try:
            yield Running(port, process.pid, began)
        finally:
            process.terminate()
            process.wait(30)


def first_answer(house: dict[str, Any], corpus: dict[str, Any], rounds: int) -> dict[str, Any]:
    """Seconds from the start of a gateway's process to its first results; the first of the starts may still fetch."""
    query, place = Corpus(**corpus).queries[0], House(**house)
    seconds, private = [], 0
    for _ in range(rounds):
        with gateway(place) as running:
            seconds.append(_answering(running, query) - running.began)
            private = memory.status("RssAnon", running.pid)
    return {"first_seconds": seconds[0], "seconds": seconds[1:] or seconds, "anonymous_memory": private}


def served(
    house: dict[str, Any], corpus: dict[str, Any], count: int, rounds: int, size: int, seconds: float
) -> dict[str, Any]:
    """A gateway that has one core: 32 clients of it, which have the others; then `rounds` versions more."""
    place, data = House(**house), Corpus(**corpus)
    with gateway(place) as running:
        keep_apart(running.pid)
        _answering(running, data.queries[0])
        return {
            "http": asyncio.run(_over_http(running.port, [body(query) for query in data.queries], seconds)),
            "visible": _visible(running, place, data, count, rounds, size),
        }


async def _over_http(port: int, bodies: list[bytes], seconds: float) -> dict[str, Any]:
    asks = [Ask(port, bodies) for _ in range(AT_ONCE)]
    try:
        for ask in asks:
            await ask.open()
        return await clients([ask.one for ask in asks], seconds)
    finally:
        for ask in asks:
            ask.close()


def _visible(running: Running, place: House, data: Corpus, count: int, rounds: int, size: int) -> list[float]:
    """Seconds from a version's announcement, which follows its commit, until the gateway answers from it."""
    index, query = place.index(), data.queries[0]
    seen: queue.Queue[float] = queue.Queue()
    with place.client().pubsub() as subscription:  # type: ignore[no-untyped-call]
        subscription.subscribe(keys.SWAP_CHANNEL)
        subscription.get_message(timeout=10)  # that it is subscribed

        def watch() -> None:
            for _ in range(rounds):
                while (message := subscription.get_message(timeout=1)) is None:
                    pass
                announced, generation = time.perf_counter(), json.loads(message["data"])["generation"]
                while running.ask(query).get("generation", 0) < generation:
                    time.sleep(_LOOK_SECONDS)
                seen.put(time.perf_counter() - announced)

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        found = []
        for number in range(rounds):
            start, seq = count + number * size, index.next_seq(INDEX, size)
            rows = data.rows(start, start + size, seq, etag="seen")
            index.write_batch(INDEX, f"v{seq:012d}", rows, data.vectors(start, start + size), "bench")
            index.build(INDEX, [f"v{seq:012d}"])
            found.append(seen.get(timeout=_GIVE_UP_SECONDS))
        watcher.join()
    return found


def collected(house: dict[str, Any], corpus: dict[str, Any], seconds: float) -> dict[str, Any]:
    """32 clients of the gateway's reader, without HTTP: what is gathered while a search runs goes together."""
    place, data = House(**house), Corpus(**corpus)
    faiss.omp_set_num_threads(1)
    return asyncio.run(_collected(place, data.queries, seconds))


async def _collected(place: House, queries: Vectors, seconds: float) -> dict[str, Any]:
    settings = place.settings({**os.environ, "TUNDISH_FILE": str(ROOT / "functions.yaml")})
    made = Gateway(settings, Deployment(settings, {}))
    reader = await made.indexes.reader()
    reader.refresh(INDEX)

    async def one(number: int) -> None:
        assert (await made.indexes.search(INDEX, Search(queries[number % len(queries)], K))).hits

    try:
        return await clients([one] * AT_ONCE, seconds)
    finally:
        await made.close()


def _answering(running: Running, query: Vectors) -> float:
    """When it had results for the first time."""
    while not running.ask(query).get("results"):
        if time.perf_counter() - running.began > _GIVE_UP_SECONDS:
            raise SystemExit(f"the gateway answered nothing within {_GIVE_UP_SECONDS} s")
        time.sleep(_LOOK_SECONDS)
    return time.perf_counter()
