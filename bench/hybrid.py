"""Is search by words and vectors together better than by vectors alone? One JSON object a line.

    python -m bench.hybrid                     quality (with --items 1000 in a few minutes), then cost
    python -m bench.hybrid --only cost         speed, memory and size of each ranker over --texts texts

FTS5 comes with Python. bm25s and tantivy are measured as well where they are installed (`pip install bm25s tantivy`).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.hybrid_rank import RANKERS, installed
from bench.known_items import Item, Query, items, queries
from runtime.embedding.backend import SentenceTransformerModels
from runtime.index.docs import Vectors

DEPTH = 100
CONSTANT = 60
WEIGHTS = (0.25, 0.5, 1.0)
_RESAMPLES = 2000

Ranks = NDArray[np.int64]
"""Of each query: the place (from 1) of its item among what was found; 0 where it was not among the first DEPTH."""


def fused(vector: Sequence[int], text: Sequence[int], weight: float, constant: int = CONSTANT) -> list[int]:
    """Reciprocal rank fusion; of two that are equal, the one that has the words comes first."""
    scores: dict[int, float] = {}
    for place, item in enumerate(text, 1):
        scores[item] = weight / (constant + place)
    for place, item in enumerate(vector, 1):
        scores[item] = scores.get(item, 0.0) + 1 / (constant + place)
    return sorted(scores, key=lambda item: -scores[item])


def quality(found: Sequence[Item], asked: Sequence[Query], vectors: Vectors, queried: Vectors) -> None:
    """Print recall@1, recall@10 and MRR@10 by kind of query; the difference to vectors alone as a 95 % interval."""
    by_vector = [_nearest(vectors, query) for query in queried]
    ranked: dict[str, list[list[int]]] = {"vector": by_vector}
    for name in installed():
        with tempfile.TemporaryDirectory() as folder:
            ranker = RANKERS[name](Path(folder), [item.text for item in found])
            words = [ranker.rank(query.text, DEPTH) for query in asked]
        ranked[name] = words
        for weight in WEIGHTS:
            pairs = zip(by_vector, words, strict=True)
            ranked[f"vector + {weight:g} {name}"] = [fused(vector, text, weight) for vector, text in pairs]
    ranks = {
        name: np.array([_rank(one, query.item) for one, query in zip(lists, asked, strict=True)])
        for name, lists in ranked.items()
    }
    kinds = np.array([query.kind for query in asked])
    for kind in sorted(set(kinds)):
        for name, all_ranks in ranks.items():
            _print_quality(kind, name, all_ranks[kinds == kind], ranks["vector"][kinds == kind])


def cost(name: str, texts: Sequence[str], asked: Sequence[str], answers: Any) -> None:
    """In a process of its own, on one core: build, open, and rank `asked`, one after the other."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as folder:
        before = _resident()
        started = time.perf_counter()
        RANKERS[name](Path(folder), texts)
        built, grown = time.perf_counter() - started, _peak() - before
        started = time.perf_counter()
        ranker = RANKERS[name](Path(folder))
        ranker.rank("nothing", 1)
        opened = time.perf_counter() - started
        seconds = []
        for query in asked:
            started = time.perf_counter()
            ranker.rank(query, DEPTH)
            seconds.append(time.perf_counter() - started)
        size = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
    answers.put(
        {
            "metric": "lexical_cost",
            "ranker": name,
            "texts": len(texts),
            "build_seconds": round(built, 2),
            "build_peak_mb": round(grown / 1e6),
            "open_ms": round(opened * 1000, 1),
            "size_mb": round(size / 1e6, 1),
            "p50_ms": round(statistics.median(seconds) * 1000, 2),
            "p99_ms": round(statistics.quantiles(seconds, n=100)[98] * 1000, 2),
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=8000, help="pieces of text to choose from")
    parser.add_argument("--queries", type=int, default=1000, help="queries of each kind")
    parser.add_argument("--texts", type=int, default=100_000, help="texts for the cost")
    parser.add_argument("--only", choices=("quality", "cost"))
    given = parser.parse_args()
    models = SentenceTransformerModels(threads=len(os.sched_getaffinity(0)))
    found = items(models, given.items)
    asked = queries(found, given.queries)
    if given.only != "cost":
        vectors = _embedded(models, [item.text for item in found])
        quality(found, asked, vectors, _embedded(models, [query.text for query in asked]))
    if given.only != "quality":
        texts = list(_mixed([item.text for item in found], given.texts))
        spawn = multiprocessing.get_context("spawn")
        sample = [query.text for query in random.Random(5).sample(list(asked), min(500, len(asked)))]
        for name in installed():
            answers = spawn.Queue()
            process = spawn.Process(target=cost, args=(name, texts, sample, answers))
            process.start()
            print(json.dumps(answers.get()), flush=True)
            process.join()


def _nearest(vectors: Vectors, query: Vectors) -> list[int]:
    scores = vectors @ query
    depth = min(DEPTH, len(scores))
    best = np.argpartition(-scores, depth - 1)[:depth]
    return [int(place) for place in best[np.argsort(-scores[best], kind="stable")]]


def _rank(found: Sequence[int], item: int) -> int:
    return found.index(item) + 1 if item in found else 0


def _gains(ranks: Ranks) -> dict[str, NDArray[np.float64]]:
    """Of each query, what it adds to each metric."""
    ten = (ranks > 0) & (ranks <= 10)
    return {
        "recall@1": (ranks == 1).astype(float),
        "recall@10": ten.astype(float),
        "mrr@10": np.where(ten, 1 / np.maximum(ranks, 1), 0.0),
    }


def _print_quality(kind: str, name: str, ranks: Ranks, base: Ranks) -> None:
    line: dict[str, Any] = {"metric": "known_item", "kind": kind, "ranking": name, "queries": len(ranks)}
    draw = np.random.default_rng(11)
    picks = draw.integers(0, len(ranks), (_RESAMPLES, len(ranks)))
    before = _gains(base)
    for metric, gains in _gains(ranks).items():
        line[metric] = round(float(gains.mean()), 3)
        if name != "vector":
            resampled = (gains - before[metric])[picks].mean(axis=1)
            low, high = np.quantile(resampled, [0.025, 0.975])
            line[f"{metric}_difference"] = [round(float(low), 3), round(float(high), 3)]
    print(json.dumps(line), flush=True)


def _embedded(models: SentenceTransformerModels, texts: Sequence[str]) -> Vectors:
    """The vectors, kept for the next run: they are most of its time."""
    digest = hashlib.sha256(json.dumps([models.name, *texts]).encode()).hexdigest()[:16]
    file = Path(tempfile.gettempdir()) / f"tundish-bench-hybrid-{digest}.npy"
    if not file.exists():
        vectors = models.embed(texts)
        with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as new:
            np.save(new, vectors)
        Path(new.name).replace(file)
    loaded: Vectors = np.load(file)
    return loaded


def _mixed(texts: Sequence[str], count: int) -> list[str]:
    """`count` texts, each of four paragraphs from anywhere: as many words and of the same kind as real chunks."""
    paragraphs = [part for text in texts for part in text.split("\n\n") if len(part) > 40]
    draw = random.Random(9)
    return ["\n\n".join(draw.sample(paragraphs, 4)) for _ in range(count)]


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _peak() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


if __name__ == "__main__":
    main()
