"""Whether Qdrant finds what an exact scan of the same vectors finds: both are asked the same queries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import numpy as np

from runtime.context import Store
from runtime.index import manifest
from runtime.index.docs import Vectors
from runtime.index.live import Loaded
from runtime.index.manifest import Manifest
from runtime.index.qdrant.collection import PAGE, Collection
from runtime.index.qdrant.conditions import seen
from runtime.index.qdrant.engine import Connections
from runtime.index.qdrant.points import VECTOR
from runtime.index.qdrant.searching import Searcher
from runtime.index.qdrant.target import LEAST_RECALL
from runtime.index.recall import K, Recall, exact_scores, noisy, queries_of
from runtime.index.search import Search

AT_ONCE = 16
"""Queries that are under way at once."""

TOLERANCE = 1e-4
"""Two sums of the same products by other programs; it must not decide whether a hit counts."""

Tell = Callable[[int, int], object]


def recall(
    loaded: Loaded, version: Manifest, connections: Connections, sample: int, tell: Tell = lambda *_: None
) -> float:
    """How many of the ten nearest, of `sample` queries, Qdrant finds; 1 where there is nothing to find.

    `loaded`: the version that FAISS holds; `version`: the one in Qdrant, of the same documents. Raises EngineDown.
    """
    queries = queries_of(loaded, sample)
    if not len(queries):
        return 1.0
    exact = exact_scores(loaded, queries)
    return float(np.mean(_shares(exact, asyncio.run(_asked(connections, version, queries, tell, exact=False)))))


def sampled(store: Store, connections: Connections, index: str, sample: int) -> Recall | None:
    """What Qdrant finds of what its own exact search finds, where nobody else holds the vectors; None where the index
    holds nothing. The queries are stored vectors with noise. Raises EngineDown."""
    version = manifest.newest(store, index)
    if version is None or version.remote is None:
        return None
    collection = Collection(connections(index), version.remote.collection)
    stored: list[list[float]] = []
    for page in collection.scroll(seen(version.remote), False, vectors=True, limit=min(sample, PAGE)):
        stored += [one.vector[VECTOR] for one in page if isinstance(one.vector, dict)]  # type: ignore[misc]
        if len(stored) >= sample:
            break
    if not stored:
        return None
    queries = noisy(np.array(stored[:sample], np.float32), np.random.default_rng(version.generation))
    fresh = connections.fresh()
    exact = asyncio.run(_asked(fresh, version, queries, lambda *_: None, exact=True))
    found = asyncio.run(_asked(fresh, version, queries, lambda *_: None, exact=False))
    shares = _shares(exact, found)
    return Recall(K, len(queries), 0, float(np.mean(shares)), min(shares), "qdrant", LEAST_RECALL)


def _shares(exact: Sequence[Sequence[float]], found: Sequence[Sequence[float]]) -> list[float]:
    shares = []
    for best, scores in zip(exact, found, strict=True):
        least = min(best) - TOLERANCE
        shares.append(sum(score >= least for score in scores[: len(best)]) / len(best))
    return shares


async def _asked(
    connections: Connections, version: Manifest, queries: Vectors, tell: Tell, *, exact: bool
) -> list[list[float]]:
    searcher, gate = Searcher(connections), asyncio.Semaphore(AT_ONCE)
    done = 0

    async def one(query: Vectors) -> list[float]:
        nonlocal done
        async with gate:
            hits = (await searcher.search(version, Search(query, K), exact=exact)).hits
        done += 1
        tell(done, len(queries))
        return [hit.score for hit in hits]

    try:
        return list(await asyncio.gather(*(one(query) for query in queries)))
    finally:
        await searcher.close()
