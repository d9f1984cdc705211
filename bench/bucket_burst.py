"""Many small files at once: how fast they become searchable, against the bare model on the same texts.

The files are put while the trigger rests; measured is from the moment it goes on until the gateway answers from a
version that holds every one of them. The peer is the model alone in as many processes as the embedding queue has,
before and after, while the system rests.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.pool import Pool
from typing import Any

import urllib3

from bench.bucket_started import client
from bench.common import ROOT, System, cpu_seconds, system
from runtime.embedding.backend import SentenceTransformerModels

PROCESSES = 2
"""The concurrency of the queue `embedding` in functions.yaml."""

_BATCH = 64
_ALONE = 640
"""Texts that each process embeds for the peer."""

_WARM_UP = 256
_THREADS = 8
_REST_SECONDS = 3.0
_WAIT_SECONDS = 1800.0
_TRIGGER = {"kind": "trigger", "name": "embed_batch:documents"}
_WORDS = ("harbour", "log", "barge", "copper", "salt", "river", "market", "gull", "stone", "lamp", "winter", "letter")


def measure(count: int, words: int) -> None:
    http = urllib3.PoolManager(retries=False, timeout=60.0)
    texts = [text(number, words) for number in range(_WARM_UP + count)]
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool, system() as found:
        put(found, texts[:_WARM_UP], 0)
        wait(found, http, _WARM_UP)
        ask(found, http, "pause")
        time.sleep(_REST_SECONDS)
        put(found, texts[_WARM_UP:], _WARM_UP)
        time.sleep(_REST_SECONDS)
        before = alone(pool, texts)
        began, worked = time.perf_counter(), cpu_seconds(found.pid)
        ask(found, http, "resume")
        wait(found, http, len(texts))
        ours = count / (time.perf_counter() - began)
        worked = cpu_seconds(found.pid) - worked
        time.sleep(_REST_SECONDS)
        after = alone(pool, texts)
        exact = verified(found)
    size = sum(map(len, texts)) // len(texts)
    rate, cpu = (before.rate + after.rate) / 2, (before.cpu + after.cpu) / 2
    tell("burst_drained", ours, rate, "files/s", n=count, bytes=size, index_equals_bucket=exact)
    tell("burst_cpu", worked / count * 1000, cpu * 1000, "ms/file", n=count, bytes=size)


def tell(metric: str, ours: float, theirs: float, unit: str, **more: object) -> None:
    line = {"metric": metric, "ours": round(ours, 2), "unit": unit, "peer": round(theirs, 2)}
    line |= {"peer_name": "the model alone, before and after", "ratio": round(ours / theirs, 3)}
    print(json.dumps({**line, **more}), flush=True)


def text(number: int, words: int) -> str:
    dice = random.Random(number)
    return f"Page {number}. " + " ".join(dice.choice(_WORDS) for _ in range(words))


def put(found: System, texts: list[str], first: int) -> None:
    store = client(found)

    def one(number: int) -> None:
        data = texts[number - first].encode()
        store.put_object("documents", f"burst/{number}.txt", io.BytesIO(data), len(data))

    with ThreadPoolExecutor(_THREADS) as threads:
        list(threads.map(one, range(first, first + len(texts))))


def wait(found: System, http: urllib3.PoolManager, documents: int) -> None:
    """Until the gateway answers from a version with so many documents."""
    give_up = time.monotonic() + _WAIT_SECONDS
    while held(found, http) < documents:
        if time.monotonic() > give_up:
            raise SystemExit(f"{held(found, http)} of {documents} files are searchable after {_WAIT_SECONDS:.0f} s")
        time.sleep(0.5)


def held(found: System, http: urllib3.PoolManager) -> int:
    answer: dict[str, Any] = json.loads(http.request("GET", f"{found.url}/admin/index-version").data)
    return int(answer["newest"]["documents"]) if answer["newest"] and answer["up_to_date"] else 0


def ask(found: System, http: urllib3.PoolManager, what: str) -> None:
    headers = {"Content-Type": "application/json"}
    answer = http.request("POST", f"{found.url}/admin/{what}", body=json.dumps(_TRIGGER), headers=headers)
    if answer.status != 200:
        raise SystemExit(f"{what} answered {answer.status}: {answer.data!r}")


def verified(found: System) -> bool:
    """What `tundish index verify` says: every file is in the index as it is in the bucket."""
    command = [sys.executable, "-P", "-m", "runtime.cli.main", "index", "verify"]
    environ = {**found.environ, "TUNDISH_FILE": str(ROOT / "functions.yaml"), "TUNDISH_HOME": str(found.home)}
    return subprocess.run(command, env=environ, stdout=subprocess.DEVNULL, check=False).returncode == 0


@dataclass(frozen=True, slots=True)
class Alone:
    """The model alone: texts a second of all processes, CPU seconds a text."""

    rate: float
    cpu: float


def alone(pool: Pool, texts: list[str]) -> Alone:
    parts = [texts[number * _ALONE : (number + 1) * _ALONE] for number in range(PROCESSES)]
    pool.map(_embed, [part[:_BATCH] for part in parts], 1)  # loads the model
    spans = pool.map(_embed, parts, 1)
    total = sum(map(len, parts))
    elapsed = max(ended for _, ended, _ in spans) - min(began for began, _, _ in spans)
    return Alone(total / elapsed, sum(cpu for _, _, cpu in spans) / total)


_models = SentenceTransformerModels()


def _embed(texts: list[str]) -> tuple[float, float, float]:
    """When it began and ended, and the CPU seconds that it took."""
    _models.load()
    began, worked = time.monotonic(), time.process_time()
    for first in range(0, len(texts), _BATCH):
        _models.embed(texts[first : first + _BATCH])
    return began, time.monotonic(), time.process_time() - worked
