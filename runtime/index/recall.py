"""How many of the nearest chunks an index finds: what it answers, against an exact scan of the same vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import nlargest

import numpy as np

from runtime.index.cache import SegmentCache
from runtime.index.docs import Vectors
from runtime.index.live import Live, Loaded
from runtime.index.manifest import Manifest
from runtime.index.segment import SCAN

LEAST = 0.999
"""What an index should reach."""

SAMPLE = 1000
K = 10
NOISE = (0.1, 0.4, 0.8)
"""How long the noise is that makes a query of a stored vector: cosines of 0.995, 0.93 and 0.78."""

WORDS = 12
"""Of a stored text, that make a query."""

_AT_ONCE = 50
_TOLERANCE = 1e-5  # two sums of the same products in another order
Embed = Callable[[Sequence[str]], Vectors | None]
Tell = Callable[[int, int], None]
Hit = tuple[float, Live, int]


@dataclass(frozen=True, slots=True)
class Recall:
    """`recall` is that of all `queries` together, `worst` that of one of them. `texts` of them were real texts.
    `kind`: whether segments are scanned in their compact form, as they are (flat), or some so and some so."""

    k: int
    queries: int
    texts: int
    recall: float
    worst: float
    kind: str
    least: float = LEAST
    """What it should be."""

    @property
    def ok(self) -> bool:
        return self.recall >= self.least


def opened(cache: SegmentCache, version: Manifest) -> Loaded:
    """A version as a reader has it. Raises CorruptSegment and ObjectMissing."""
    parts = []
    for ref in version.segments:
        dead = cache.tombstones(version.index, ref.tombstones, ref.vectors) if ref.tombstones else None
        parts.append(Live(ref, cache.open(version.index, ref.segment), dead))
    return Loaded(version, version.described(), tuple(parts))


def measure(
    loaded: Loaded,
    *,
    sample: int = SAMPLE,
    k: int = K,
    embed: Embed = lambda texts: None,
    tell: Tell = lambda *_: None,
) -> Recall | None:
    """Ask a version `sample` times, without filters; None where it holds nothing.

    The queries are stored vectors with noise, half of them the beginnings of stored texts where `embed` has vectors for
    these. Of equal scores any counts.
    """
    random = np.random.default_rng(loaded.manifest.generation)
    rows = _sample(loaded.parts, sample, random)
    if not rows:
        return None
    texts = embed([_beginning(part, row) for part, row in rows[: len(rows) // 2]]) if len(rows) > 1 else None
    count = 0 if texts is None else len(texts)
    queries = [noisy(np.concatenate([part.segment.vectors(np.array([row])) for part, row in rows[count:]]), random)]
    if texts is not None:
        queries.append(texts)
    everything = np.concatenate(queries)
    shares: list[float] = []
    for start in range(0, len(everything), _AT_ONCE):
        some = everything[start : start + _AT_ONCE]
        best, answered = _search(loaded.parts, some, k, exact=True), _search(loaded.parts, some, k, exact=False)
        shares += [_share(query, *both) for query, *both in zip(some, best, answered, strict=True)]
        tell(len(shares), len(everything))
    kinds = {"compact" if SCAN in part.segment.meta.files else "flat" for part in loaded.parts}
    return Recall(k, len(shares), count, float(np.mean(shares)), min(shares), " and ".join(sorted(kinds)))


def queries_of(loaded: Loaded, sample: int) -> Vectors:
    """Stored vectors with noise, from everywhere in a version; fewer than `sample` where it holds fewer."""
    random = np.random.default_rng(loaded.manifest.generation)
    rows = _sample(loaded.parts, sample, random)
    if not rows:
        return np.zeros((0, loaded.manifest.dimensions), np.float32)
    return noisy(np.concatenate([part.segment.vectors(np.array([row])) for part, row in rows]), random)


def exact_scores(loaded: Loaded, queries: Vectors, k: int = K) -> list[list[float]]:
    """The scores of the `k` nearest of each query, best first, by looking at every vector."""
    found: list[list[float]] = []
    for start in range(0, len(queries), _AT_ONCE):
        some = queries[start : start + _AT_ONCE]
        best = _search(loaded.parts, some, k, exact=True)
        found += [[_score(query, hit) for hit in hits] for query, hits in zip(some, best, strict=True)]
    return found


def _sample(parts: Sequence[Live], sample: int, random: np.random.Generator) -> list[tuple[Live, int]]:
    """Living rows from everywhere, none twice."""
    starts = np.cumsum([0, *(len(part.segment) for part in parts)])
    rows: list[tuple[Live, int]] = []
    # Drawn from stretches of equal length: no list of all rows is needed.
    wanted = min(int(starts[-1]), 4 * sample)
    edges = np.linspace(0, starts[-1], wanted + 1, dtype=np.int64)
    for place in random.permutation(random.integers(edges[:-1], edges[1:])).tolist() if wanted else ():
        number = int(np.searchsorted(starts, place, "right")) - 1
        row = place - int(starts[number])
        if len(rows) < sample and not parts[number].is_dead(row):
            rows.append((parts[number], row))
    return rows


def noisy(vectors: Vectors, random: np.random.Generator) -> Vectors:
    """Queries that are near to stored vectors, and not these."""
    noise = random.standard_normal(vectors.shape).astype(np.float32)
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    made = vectors + noise * np.resize(np.array(NOISE, np.float32), (len(vectors), 1))
    queries: Vectors = made / np.linalg.norm(made, axis=1, keepdims=True)
    return queries


def _beginning(part: Live, row: int) -> str:
    return " ".join(str(part.segment.fields(row)["text"]).split()[:WORDS]) or "?"


def _search(parts: Sequence[Live], queries: Vectors, k: int, *, exact: bool) -> list[list[Hit]]:
    found: list[list[Hit]] = [[] for _ in queries]
    for part in parts:
        if part.ref.live:
            for hits, more in zip(found, part.search(queries, k, exact=exact), strict=True):
                hits += [(score, part, row) for score, row in more]
    return [nlargest(k, hits, key=lambda hit: hit[0]) for hits in found]


def _share(query: Vectors, best: list[Hit], answered: list[Hit]) -> float:
    """How many of the best are among what was answered, by scores that are computed here."""
    least = min(_score(query, hit) for hit in best) - _TOLERANCE
    return sum(_score(query, hit) >= least for hit in answered) / len(best)


def _score(query: Vectors, hit: Hit) -> float:
    return float(hit[1].segment.vectors(np.array([hit[2]]))[0] @ query)
