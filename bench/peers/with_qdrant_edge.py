"""Qdrant's own engine as a library (Qdrant Edge): one shard in this process, without a server (bench/engines_edge.py).

    python with_qdrant_edge.py build|search ORDER.json

`build` writes points and lets the engine make its graph; `search` opens that shard in a fresh process and asks it.
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge as qdrant

VECTOR = "chunk"
ALIVE = 2**53 - 1
_AT_ONCE = 256
_WORDS = ("tenant", "bucket", "terms", "key", "kind", "document", "batch")
_NUMBERS = ("chunks", "born", "died")


def build(order: dict[str, Any]) -> dict[str, Any]:
    """`vectors` (.npy) and `points` ([id, payload] for each of them, then those without a vector) into `folder`."""
    vectors, points = np.load(order["vectors"], mmap_mode="r"), json.loads(Path(order["points"]).read_text())
    count = order["count"]
    Path(order["folder"]).mkdir()
    shard = qdrant.EdgeShard.create(order["folder"], _config(order, vectors.shape[1]))
    for name in _WORDS if order["indexes"] else ():
        shard.update(qdrant.UpdateOperation.create_field_index(name, _words(name, order["on_disk"])))
    for name in _NUMBERS if order["indexes"] else ():
        number = qdrant.IntegerIndexParams(lookup=False, range=True, on_disk=order["on_disk"], enable_hnsw=False)
        shard.update(qdrant.UpdateOperation.create_field_index(name, number))
    began, cpu = time.perf_counter(), time.process_time()
    for first in range(0, len(points), _AT_ONCE):
        some = [
            qdrant.Point(name, {VECTOR: vectors[place].tolist()} if place < count else {}, payload)
            for place, (name, payload) in enumerate(points[first : first + _AT_ONCE], first)
        ]
        shard.update(qdrant.UpdateOperation.upsert_points(some))
    taken = time.perf_counter() - began
    while shard.optimize():
        pass
    shard.flush()
    told = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu, "upsert_seconds": taken}
    shard.close()
    disk = sum(file.stat().st_blocks * 512 for file in Path(order["folder"]).rglob("*") if file.is_file())
    return told | {"disk": disk, "indexed": len(points)}


def search(order: dict[str, Any]) -> dict[str, Any]:
    """Seconds and the keys of the ten best of each of `queries` (.npy)."""
    before = _memory("RssAnon"), _memory("RssFile")
    shard = qdrant.EdgeShard.load(order["folder"])
    queries = np.load(order["queries"])
    match = qdrant.FieldCondition("kind", match=qdrant.MatchValue("chunk"))
    born = qdrant.FieldCondition("born", range=qdrant.RangeFloat(lte=1))
    died = qdrant.FieldCondition("died", range=qdrant.RangeFloat(gte=2))
    again = qdrant.QuantizationSearchParams(rescore=True, oversampling=3.0) if order["int8"] else None
    times, found = [], []
    for query in queries:
        asked = qdrant.QueryRequest(
            limit=10,
            query=qdrant.Query.Nearest(query.tolist(), using=VECTOR),
            filter=qdrant.Filter(must=[match, born, died]),
            with_payload=["key"],
            params=qdrant.SearchParams(quantization=again),
        )
        began = time.perf_counter()
        hits = shard.query(asked)
        times.append(time.perf_counter() - began)
        found.append([(hit.payload or {})["key"] for hit in hits])
    memory = _memory("RssAnon") - before[0], _memory("RssFile") - before[1]
    return {"times": times, "keys": found, "anonymous": memory[0], "mapped": memory[1]}


def _config(order: dict[str, Any], dimensions: int) -> Any:
    on_disk = order["on_disk"]
    int8 = qdrant.ScalarQuantizationConfig(qdrant.ScalarType.Int8, quantile=0.99, always_ram=True)
    return qdrant.EdgeConfig(
        vectors={VECTOR: qdrant.EdgeVectorParams(dimensions, qdrant.Distance.Dot, on_disk=on_disk)},
        on_disk_payload=True,
        hnsw_config=qdrant.HnswIndexConfig(16, 100, 10_000, on_disk=on_disk),
        quantization_config=int8 if order["int8"] else None,
    )


def _words(name: str, on_disk: bool) -> Any:
    plain = name not in ("tenant", "bucket", "terms")
    return qdrant.KeywordIndexParams(is_tenant=name == "tenant", on_disk=on_disk, enable_hnsw=not plain)


def _memory(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


if __name__ == "__main__":
    told = {"build": build, "search": search}[sys.argv[1]](json.loads(Path(sys.argv[2]).read_text()))
    print(json.dumps(told))
