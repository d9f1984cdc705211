"""Steps of bench/engines.py that have a process of their own: a build of one engine, and searches of both in turn."""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import Any

import faiss

from bench import memory
from bench.engines_found import Found
from bench.index_data import Corpus
from bench.index_house import INDEX, House
from bench.index_search import K, in_turn, p99
from runtime.config.engine import EngineSpec
from runtime.index import manifest
from runtime.index.engines import Indexes
from runtime.index.qdrant.engine import Connections
from runtime.index.qdrant.searching import Searcher
from runtime.index.search import Search


def build(house: dict[str, Any], engine: dict[str, Any]) -> dict[str, Any]:
    """All batches that are in the store → a version that can be searched, by the engine that is asked for."""
    place, spec = House(**house), EngineSpec.model_validate(engine)
    index = Indexes(place.objects(), place.client(), place.cache)
    index.engine_of = lambda name: spec
    if spec.engine == "faiss":
        index.build("warm")  # what an idle worker has imported and opened
    with memory.Peak() as peak:
        began, cpu = time.perf_counter(), time.process_time()
        report = index.build(INDEX)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    if not report.published:
        raise SystemExit(f"{spec.engine} has built nothing: {report}")
    return {"seconds": seconds, "cpu_seconds": cpu, "vectors": report.vectors, "growth": peak.resident}


def search(
    faiss_house: dict[str, Any],
    qdrant_house: dict[str, Any],
    engine: dict[str, Any],
    corpus: dict[str, Any],
    count: int,
    most: int,
) -> dict[str, Any]:
    """`most` queries to both, a few to one and the same few to the other, and the rest to FAISS.

    Told are seconds and what was found. A search by local mode takes seconds, so it is asked less than a server.
    """
    faiss.omp_set_num_threads(1)
    data, place = Corpus(**corpus), House(**qdrant_house)
    queries, spec = data.queries, EngineSpec.model_validate(engine)
    before = memory.status("RssAnon")
    reader = House(**faiss_house).reader()
    reader.refresh(INDEX)
    version = manifest.newest(place.objects(), INDEX)
    assert version and version.remote, "Qdrant's version was not published"
    searcher, found = Searcher(Connections(lambda name: spec)), Found(data, queries, count)
    loop = asyncio.new_event_loop()

    def ours(number: int) -> None:
        hits = reader.search(INDEX, queries[number], K).hits
        found.note("faiss", number, [hit.key for hit in hits])

    def theirs(number: int) -> None:
        answer = loop.run_until_complete(searcher.search(version, Search(queries[number], K)))
        found.note("qdrant", number, [hit.key for hit in answer.hits])

    for once in (ours, theirs):  # connections, maps
        once(0)
    own = memory.status("RssAnon") - before
    times = dict(zip(("faiss", "qdrant"), in_turn(range(most), ours, theirs), strict=True))
    times["faiss"] += in_turn(range(most, len(queries)), ours, None)[0]
    loop.close()
    told: dict[str, Any] = {"queries": most, "reader_memory": max(0, own)}
    for name, seconds in times.items():
        shares = found.shares(name, len(seconds))
        told[name] = {
            "p50": statistics.median(seconds),
            "p99": p99(seconds),
            "recall": statistics.fmean(shares),
            "worst": min(shares),
        }
    return told
