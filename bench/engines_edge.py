"""The same rows and queries in Qdrant's own engine, one shard as a library: graph, quantization and memory for real.

It is what a server has for each shard, without the server: no network, no copies, no consensus. Tests use it, too
(tests/qdrant_edge.py).
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.engines_found import Found
from bench.index_data import Corpus
from bench.index_search import p99
from runtime.index.qdrant import points

SCRIPT = Path(__file__).parent / "peers" / "with_qdrant_edge.py"
WHAT = "Qdrant Edge, one shard as a library"
INDEX, BATCH = "default", "b000000000"


@dataclass(frozen=True, slots=True)
class Setting:
    """As functions.yaml says it; `indexes`: with the payload indexes that filters need."""

    name: str
    int8: bool = False
    on_disk: bool = False
    indexes: bool = True

    def order(self) -> dict[str, Any]:
        return {"int8": self.int8, "on_disk": self.on_disk, "indexes": self.indexes}


SETTINGS: Sequence[Setting] = (
    Setting("float"),
    Setting("int8", int8=True),
    Setting("int8_on_disk", int8=True, on_disk=True),
    Setting("float_without_filters", indexes=False),
)


def measured(folder: Path, corpus: Corpus, count: int, most: int, settings: Sequence[Setting]) -> dict[str, Any]:
    """Built, opened and asked in each setting."""
    given = laid_down(folder, corpus, count, most)
    found = Found(corpus, corpus.queries[:most], count)
    told: dict[str, Any] = {}
    for setting in settings:
        order = folder / f"{setting.name}.json"
        order.write_text(json.dumps({**given, **setting.order(), "folder": str(folder / setting.name)}))
        built, asked = (_run(step, order) for step in ("build", "search"))
        for number, keys in enumerate(asked.pop("keys")):
            found.note(setting.name, number, keys)
        shares, times = found.shares(setting.name, len(asked["times"])), asked.pop("times")
        answers = {"p50": statistics.median(times), "p99": p99(times), "recall": statistics.fmean(shares)}
        told[setting.name] = {**built, **asked, **answers, "worst": min(shares)}
    return told


def laid_down(folder: Path, corpus: Corpus, count: int, most: int) -> dict[str, Any]:
    """Vectors, queries and the points that the builder would make of the rows, as files."""
    np.save(folder / "vectors.npy", corpus.vectors(0, count))
    np.save(folder / "queries.npy", corpus.queries[:most])
    rows = corpus.rows(0, count, 1)
    chunks = [(points.chunk_id(INDEX, row), points.chunk(INDEX, row, 1, BATCH, 1)) for row in rows]
    documents = [(points.document_id(INDEX, row.bucket, row.key), points.document(row, 1, BATCH, 1)) for row in rows]
    (folder / "points.json").write_text(json.dumps([*chunks, *documents]))
    files = {name: str(folder / f"{name}.npy") for name in ("vectors", "queries")}
    return {**files, "points": str(folder / "points.json"), "count": count}


def lines(told: Mapping[str, Any], count: int, faiss: Mapping[str, float]) -> Iterator[dict[str, Any]]:
    """Ours is the engine's number, the peer FAISS's."""
    for name, one in told.items():
        for metric, key, unit in (
            ("build", "seconds", "s"),
            ("build_cpu", "cpu_seconds", "s"),
            ("search_p50", "p50", "s"),
            ("search_p99", "p99", "s"),
            ("recall_at_10", "recall", "share"),
            ("memory", "anonymous", "bytes that are its own"),
            ("memory_mapped", "mapped", "bytes of files"),
            ("disk", "disk", "bytes"),
        ):
            line = {"metric": f"edge_{name}_{metric}", "ours": float(f"{one[key]:.4g}"), "unit": unit}
            if peer := faiss.get(metric):
                line |= {"peer": float(f"{peer:.4g}"), "peer_name": "FAISS", "ratio": round(one[key] / peer, 3)}
            yield {**line, "what": WHAT, "vectors": count}


def _run(step: str, order: Path) -> dict[str, Any]:
    done = subprocess.run([sys.executable, str(SCRIPT), step, str(order)], check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{SCRIPT.name} {step} ended with {done.returncode}:\n{done.stderr}")
    told: dict[str, Any] = json.loads(done.stdout)
    return told
