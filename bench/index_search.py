"""Searching, measured through the reader: p50, recall against exact search, many at once, and what a version costs.

The peer is FAISS's Flat index over the same vectors, in memory, in the same process, in turn. A found row counts when
its exact score is as good as that of the k-th best, so that equal texts are no mistakes.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from bench import memory
from bench.index_build import all_of
from bench.index_data import Corpus, Vectors, number_of
from bench.index_house import INDEX, House
from runtime.index.reader import IndexReader
from runtime.index.search import Search, SearchResult

K = 10
AT_ONCE = 32
_BLOCK = 50_000
_TURN = 20
TOLERANCE = 1e-5


def search(house: dict[str, Any], corpus: dict[str, Any], count: int, rounds: int, peer_up_to: int) -> dict[str, Any]:
    """`rounds` searches one after the other and as many in groups of 32; recall over every query of the corpus."""
    faiss.omp_set_num_threads(1)
    data = Corpus(**corpus)
    reader, told = _opened(House(**house))
    queries = data.queries
    told |= recall(reader, data, queries, count)
    told["queries"] = len(queries)
    asked = np.resize(queries, (rounds, queries.shape[1]))
    flat: Any = None
    if count <= peer_up_to:
        flat = faiss.IndexFlatIP(data.dimensions)
        flat.add(all_of(data, count))
    groups = [asked[start : start + AT_ONCE] for start in range(0, len(asked) - AT_ONCE + 1, AT_ONCE)]

    def many(group: Vectors) -> None:
        assert all(isinstance(one, SearchResult) for one in reader.search_many(INDEX, [Search(q, K) for q in group]))

    ours, peer = in_turn(asked, lambda q: reader.search(INDEX, q, K), flat and (lambda q: flat.search(q[None], K)))
    told |= {"p50": statistics.median(ours), "p99": p99(ours)}
    together, peers = in_turn(groups, many, flat and (lambda group: flat.search(group, K)))
    told["together_per_second"] = AT_ONCE / statistics.median(together)
    if flat:
        told |= {"peer_p50": statistics.median(peer), "peerp99": p99(peer)}
        told["peer_together_per_second"] = AT_ONCE / statistics.median(peers)
    return told


def recall(reader: IndexReader, data: Corpus, queries: Vectors, count: int) -> dict[str, Any]:
    """The share of the true `K` nearest that is found, on average and for the worst query."""
    truth = kth_best(data, queries, count)
    shares = []
    for query, least in zip(queries, truth, strict=True):
        found = {number_of(hit.key) for hit in reader.search(INDEX, query, K).hits}
        vectors = [data.vectors(number, number + 1)[0] for number in found]
        shares.append(sum(float(query @ vector) >= least - TOLERANCE for vector in vectors) / min(K, count))
    return {"recall": statistics.fmean(shares), "worst": min(shares)}


def in_turn(
    asked: Iterable[Any], ours: Callable[[Any], object], peer: Callable[[Any], object] | None
) -> tuple[list[float], list[float]]:
    """Seconds of each, a few of ours and the same few of the peer at a time."""
    times: tuple[list[float], list[float]] = ([], [])
    given = list(asked)
    for start in range(0, len(given), _TURN):
        for one, found in ((ours, times[0]), (peer, times[1])):
            if one is None:
                continue
            for query in given[start : start + _TURN]:
                began = time.perf_counter()
                one(query)
                found.append(time.perf_counter() - began)
    return times


def _opened(place: House) -> tuple[IndexReader, dict[str, Any]]:
    """A reader that has answered once, and what that took."""
    before, anonymous = memory.status("VmRSS"), memory.status("RssAnon")
    reader = place.reader()
    began = time.perf_counter()
    reader.refresh(INDEX)
    opened = time.perf_counter() - began
    version = reader.version(INDEX)
    assert version, "nothing was published"
    query = np.zeros(version.dimensions, np.float32)
    query[0] = 1
    reader.search(INDEX, query, K)
    return reader, {
        "open_seconds": opened,
        "open_and_first_answer_seconds": time.perf_counter() - began,
        "memory": memory.status("VmRSS") - before,
        "anonymous_memory": memory.status("RssAnon") - anonymous,
        "mapped": version.bytes,
    }


def kth_best(data: Corpus, queries: Vectors, count: int) -> NDArray[np.float32]:
    """The exact score of each query's k-th nearest row, block by block: the vectors need not fit in memory."""
    best = np.full((len(queries), min(K, count)), -np.inf, np.float32)
    for start in range(0, count, _BLOCK):
        scores = queries @ data.vectors(start, min(start + _BLOCK, count)).T
        best = -np.partition(-np.concatenate([best, scores], axis=1), best.shape[1] - 1, axis=1)[:, : best.shape[1]]
    kth: NDArray[np.float32] = best.min(axis=1)
    return kth


def p99(values: list[float]) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
