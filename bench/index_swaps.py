"""Many versions swapped in under constant load: `python -m bench.index_swaps --swaps 1000`.

One client asks a gateway all the time. It is timed while nothing is published, then while versions are published, five
a second (with compaction, as `build_index` asks for it), then once more while nothing is. Meanwhile the gateway's
memory, mappings, open files and the bytes of its cache are looked at. On a machine that has other work as well, its
processor time between request and answer (`swap_processor_p99`) says more than the clock.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import memory
from bench.alone import alone, started
from bench.common import ROOT
from bench.index_corpus import prepared
from bench.index_data import Corpus, Vectors
from bench.index_gateway import Running, body, gateway
from bench.index_house import INDEX, House, house_of, plain, servers
from runtime.config.load import load_settings
from runtime.host.niceness import step_back
from runtime.index.port import FaissIndex

BLOCKED_SECONDS = 1.0
"""A query that takes this long counts as blocked."""

EVERY_SECONDS = 0.2
"""Between two publishes, where a builder is that fast: functions.yaml gathers what comes within this time."""

_SAMPLES = 40
_READY_SECONDS = 120.0


@dataclass(slots=True)
class Load:
    """What a client has seen: seconds of each answer, failures, and the generations that answered.

    `processor`: seconds of processor time that the gateway took from the request to the answer, for whatever it did.
    """

    seconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    failed: int = 0
    generations: set[int] = field(default_factory=set)

    def p99(self) -> float:
        return _p99(self.seconds)


def _p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]


class Client:
    """Asks one thing after the other over one connection."""

    def __init__(self, running: Running, queries: Vectors) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=30)
        self._pid = running.pid
        self._bodies = [body(query) for query in queries[:64]]
        self._number = 0

    def ask(self, load: Load) -> bool:
        """One query, taken down in `load`; whether it had results."""
        self._number += 1
        busy, began = memory.processor(self._pid), time.perf_counter()
        try:
            sent = self._bodies[self._number % len(self._bodies)]
            self._connection.request("POST", "/search", sent, {"Content-Type": "application/json"})
            answer = self._connection.getresponse()
            told = json.loads(answer.read())
        except (OSError, http.client.HTTPException):
            self._connection.close()
            load.failed += 1
            return False
        load.seconds.append(time.perf_counter() - began)
        load.processor.append(memory.processor(self._pid) - busy)
        good = answer.status == 200 and bool(told["results"])
        load.failed += not good
        if good:
            load.generations.add(told["generation"])
        return good

    def for_seconds(self, seconds: float) -> Load:
        load, end = Load(), time.perf_counter() + seconds
        while time.perf_counter() < end:
            self.ask(load)
        return load


def publish(
    house: dict[str, Any], corpus: dict[str, Any], start: int, count: int, rows: int, every: float
) -> dict[str, Any]:
    """So many versions, each with a few new documents and as many new versions of known ones; seconds of each."""
    step_back(_niceness())
    place, data = House(**house), Corpus(**corpus)
    index, compactor = place.index(), place.index()
    compacting: threading.Thread | None = None
    seconds, before = [], _generation(index)
    for number in range(count):
        due = time.perf_counter() + every
        seq, name = index.next_seq(INDEX, 2 * rows), f"s{number:06d}"
        first, known = start + number * rows, number * rows % start
        fresh = data.rows(first, first + rows, seq)
        again = data.rows(known, known + rows, seq + rows, etag=name)
        vectors = data.vectors(first, first + 2 * rows)  # a new version of a document says something else
        index.write_batch(INDEX, name, fresh + again, vectors, "bench")
        began = time.perf_counter()
        report = index.build(INDEX, [name])
        seconds.append(time.perf_counter() - began)
        if report.crowded and not (compacting and compacting.is_alive()):
            compacting = threading.Thread(target=compactor.compact, args=(INDEX,))
            compacting.start()
        time.sleep(max(0.0, due - time.perf_counter()))
    if compacting:
        compacting.join()
    return {"seconds": seconds, "versions": _generation(index) - before}


def _niceness() -> int:
    """Of the queue in which `build_index` runs as it is shipped."""
    project = load_settings({}, file=ROOT / "functions.yaml").project
    return project.queues[project.functions["build_index"].queue].nice


def _generation(index: FaissIndex) -> int:
    version = index.current(INDEX)
    return version.generation if version else 0


def run(
    house: House, corpus: Corpus, vectors: int, swaps: int, *, rows: int, seconds: float, every: float
) -> list[dict[str, Any]]:
    """Everything, in an empty house: an answer a measurement, as plain data."""
    given: dict[str, Any] = {"house": plain(house), "corpus": plain(corpus)}
    alone("index_house:fill", one_core=False, **given, start=0, end=vectors, batch_rows=500)
    alone("index_build:build", one_core=False, house=plain(house))
    with gateway(house) as served:
        client = Client(served, corpus.queries)
        until = time.perf_counter() + _READY_SECONDS
        while not client.ask(Load()):
            if time.perf_counter() > until:
                raise SystemExit(f"the gateway has no results after {_READY_SECONDS:g} s")
        client.for_seconds(seconds / 10)
        before = client.for_seconds(seconds)
        given |= {"start": vectors, "rows": rows, "every": every}
        load, told, held = _swapping(client, served, house, given, swaps)
        after = client.for_seconds(seconds)
    steady = Load(
        [*before.seconds, *after.seconds], [*before.processor, *after.processor], before.failed + after.failed
    )
    return [*_answers(vectors, swaps, steady, load, told), *_held(held)]


def _swapping(
    client: Client, served: Running, house: House, given: dict[str, Any], swaps: int
) -> tuple[Load, dict[str, Any], list[dict[str, int]]]:
    publisher = started("index_swaps:publish", one_core=False, **given, count=swaps)
    load, held, first = Load(), [_look(served, house)], time.perf_counter()
    try:
        known: set[int] = set()
        while publisher.poll() is None:
            client.ask(load)
            if len(load.generations - known) >= max(1, swaps // _SAMPLES):
                known = set(load.generations)
                held.append(_look(served, house))
        if publisher.returncode or publisher.stdout is None:
            raise SystemExit(f"publishing ended with {publisher.returncode}")
        told = json.loads(publisher.stdout.read().splitlines()[-1])
    finally:
        publisher.kill()
        publisher.wait()
    return load, {**told, "took": time.perf_counter() - first}, held


def _look(served: Running, house: House) -> dict[str, int]:
    """What the gateway's process holds, and the bytes of the cache that it shares with the builder."""
    return {
        "rss": memory.status("VmRSS", served.pid),
        "anonymous": memory.status("RssAnon", served.pid),
        "maps": memory.maps(served.pid),
        "open_files": memory.open_files(served.pid),
        "cache_bytes": _bytes(house.cache),
    }


def _bytes(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):  # which passes over a folder that is removed meanwhile
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += Path(place, name).stat().st_size
    return total


def _answers(vectors: int, swaps: int, steady: Load, load: Load, told: dict[str, Any]) -> list[dict[str, Any]]:
    ours, peer = load.p99(), steady.p99()
    ordered = sorted(told["seconds"])
    return [
        {
            "metric": "swap_p99",
            "ours": _short(ours),
            "peer": _short(peer),
            "ratio": round(ours / peer, 3),
            "unit": "s",
            "target": "ratio <= 1.3",
            "peer_name": "the same while nothing is published",
            "p50": _short(statistics.median(load.seconds)),
            "p50_steady": _short(statistics.median(steady.seconds)),
            "worst": _short(max(load.seconds)),
            "queries": len(load.seconds),
            "failed": load.failed + steady.failed,
            "blocked": sum(one > BLOCKED_SECONDS for one in load.seconds),
            "vectors": vectors,
        },
        {
            "metric": "swap_processor_p99",
            "ours": _short(_p99(load.processor)),
            "peer": _short(_p99(steady.processor)),
            "ratio": round(_p99(load.processor) / (_p99(steady.processor) or 1.0), 3),
            "unit": "s",
            "peer_name": "the same while nothing is published",
        },
        {
            "metric": "swaps_seen",
            "ours": len(load.generations),
            "peer": told["versions"],
            "peer_name": "published, compactions included",
            "unit": "versions",
            "publish_p50": _short(ordered[len(ordered) // 2]),
            "a_second": _short(swaps / told["took"]),
        },
    ]


def _held(samples: Sequence[dict[str, int]]) -> list[dict[str, Any]]:
    """The last quarter of the run against the second one: what grows with every swap is twice as large by then."""
    quarter = max(1, len(samples) // 4)
    answers = []
    for name in samples[0]:
        late = max(sample[name] for sample in samples[-quarter:])
        early = max(sample[name] for sample in samples[quarter : 2 * quarter] or samples[:1])
        answers.append(
            {
                "metric": f"swaps_{name}",
                "ours": late,
                "peer": early,
                "ratio": round(late / max(early, 1), 3),
                "unit": "bytes" if name not in ("maps", "open_files") else "count",
                "before": samples[0][name],
            }
        )
    return answers


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Search while versions are swapped; one JSON object a line.")
    parser.add_argument("--swaps", type=int, default=1000)
    parser.add_argument("--vectors-in", type=int, default=100_000, help="vectors of the index before the first swap")
    parser.add_argument("--rows", type=int, default=10, help="new documents of a version, and as many replaced ones")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement without swaps")
    parser.add_argument("--every", type=float, default=EVERY_SECONDS, help="seconds from one publish to the next")
    parser.add_argument("--real", type=int, default=100_000, help="texts that are embedded for it, once")
    parser.add_argument("--vectors", help="take these unit vectors (.npy) instead; needs --texts")
    parser.add_argument("--texts", help="the texts of --vectors, a JSON list")
    given = parser.parse_args(arguments)
    corpus = Corpus(given.vectors, given.texts) if given.vectors else prepared(given.real)
    with servers() as running:
        house = house_of(running, "swaps")
        found = run(
            house,
            corpus,
            given.vectors_in,
            given.swaps,
            rows=given.rows,
            seconds=given.seconds,
            every=given.every,
        )
    for line in found:
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
