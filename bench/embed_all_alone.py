"""Steps of bench/embed_all.py that have a process of their own."""

from __future__ import annotations

import json
import re
import statistics
import time
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from functions._source import Source
from functions._source_known import Known, Memory
from functions._source_parts import Parts, Plan, cutting
from functions._source_plan import Rows
from runtime.config.settings import StoreSettings
from runtime.store.port import MinioStore
from runtime.testing import fake_context

_ROUNDS = 3
Times = tuple[float, float]
R = TypeVar("R")


def pace(texts: str) -> dict[str, Any]:
    """Documents a second of the model alone, on one core; `tokens` is their mean length."""
    from runtime.embedding.backend import SentenceTransformerModels

    models = SentenceTransformerModels()
    found: list[str] = json.loads(Path(texts).read_text())
    models.embed(found[:64])
    began = time.perf_counter()
    models.embed(found)
    seconds = time.perf_counter() - began
    tokens = statistics.fmean(len(models.tokenize(text)) for text in found[:500])
    return {"docs_per_second": len(found) / seconds, "tokens": tokens}


def listing(arguments: str, store: dict[str, str]) -> dict[str, Any]:
    """Seconds to read all rows of a source (`rows`), to lay them down as batches, and to see that nothing is new."""
    given = json.loads(arguments)
    port = MinioStore(StoreSettings(endpoint=store["endpoint"], access_key=store["key"], secret_key=store["secret"]))
    source, bucket = Source(**given["source"]), given["bucket"]
    rows: list[Times] = []
    planned: list[Times] = []
    unchanged: list[Times] = []
    for _ in range(_ROUNDS):
        rows.append(_timed(lambda: _read(source, bucket, port))[0])
        known = Known()
        for times in (planned, unchanged):
            told, known = _timed(partial(_planned, source, bucket, port, known))
            times.append(told)
    return {
        "rows": sorted(rows)[_ROUNDS // 2],
        "planned": sorted(planned)[_ROUNDS // 2],
        "unchanged": sorted(unchanged)[_ROUNDS // 2],
        "peak_mib": round(_peak_kib() / 1024),
    }


def _peak_kib() -> int:
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found[1]) if found else 0


def _planned(source: Source, bucket: str, store: MinioStore, known: Known) -> Known:
    context = fake_context("embed_all", store=store)
    plan, index = Plan(), f"bench-{uuid.uuid4().hex[:8]}"
    parts, memory = Parts(store, index, "run"), Memory(context, index, source, bucket)
    with cutting(parts, plan) as cutter:
        Rows(source, bucket, memory, plan, context).plan(known, cutter)
    assert plan.known is not None
    found = Known.of(plan.known)
    parts.remove(plan)
    return found


def _read(source: Source, bucket: str, store: MinioStore) -> None:
    """Every row as columns, and nothing else."""
    import tempfile

    from functions._source_delta import Table
    from functions._source_files import rows
    from functions._source_rows import Problems

    if source.delta:
        assert sum(1 for _ in Table(source, bucket, fake_context(store=store)).rows())
        return
    [item] = store.list(bucket, source.prefix)
    with tempfile.TemporaryFile() as file:
        store.download(bucket, item.key, file)
        file.seek(0)
        assert sum(1 for _ in rows(file, item.key, source, Problems()))


def _timed(work: Callable[[], R]) -> tuple[Times, R]:
    """Seconds by the clock and of CPU time, of all threads."""
    clock, processor = time.perf_counter(), time.process_time()
    found = work()
    return (time.perf_counter() - clock, time.process_time() - processor), found
