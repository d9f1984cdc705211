"""What engines found for the same queries, judged by exact scores: a row as good as the tenth best is right."""

from __future__ import annotations

from bench.index_data import Corpus, Vectors, number_of
from bench.index_search import TOLERANCE, K, kth_best


class Found:
    """Keys of what each engine found for each query."""

    def __init__(self, data: Corpus, queries: Vectors, count: int) -> None:
        self._data, self._queries, self._count = data, queries, count
        self._truth = kth_best(data, queries, count)
        self._keys: dict[tuple[str, int], list[str]] = {}

    def note(self, engine: str, number: int, keys: list[str]) -> None:
        self._keys[engine, number] = keys

    def shares(self, engine: str, asked: int) -> list[float]:
        """Of the first `asked` queries, how much of the ten best was found for each."""
        return [self._share(number, self._keys[engine, number]) for number in range(asked)]

    def _share(self, number: int, keys: list[str]) -> float:
        query, least = self._queries[number], float(self._truth[number])
        vectors = [self._data.vectors(one, one + 1)[0] for one in map(number_of, keys)]
        return sum(float(query @ vector) >= least - TOLERANCE for vector in vectors) / min(K, self._count)
