"""Searching a loaded version: several searches at once, every segment asked once for those that are alike."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from runtime.errors import BadInput, NoWords, OtherModel
from runtime.index import hybrid
from runtime.index.docs import Bits, Vectors
from runtime.index.filters import Filters
from runtime.index.grouping import documents, further
from runtime.index.hybrid import Mode
from runtime.index.live import Live, Loaded
from runtime.index.manifest import Manifest
from runtime.index.segment import Segment

MAX_K = 10_000
Chunk = tuple[float, Live, int]
"""A score, and the part and row that have it."""


@dataclass(frozen=True, slots=True)
class Search:
    """What is searched for: the `k` chunks nearest to `vector` (of the model's dimensions, any length).

    Only what passes `filters` is looked at. `min_score`: the least cosine of a hit. `group`: `k` documents, each with
    its best chunk. `model`: what made the vector; where the version has another one the answer is OtherModel. `mode`:
    by the vector, by the words of `text`, or by both; `score` is the cosine in each.
    """

    vector: Vectors
    k: int = 10
    filters: Filters | None = None
    min_score: float | None = None
    group: bool = False
    model: str = ""
    text: str = ""
    mode: Mode = "vector"


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that was found. `score` is the cosine; `start` and `end` are offsets in the document's text.

    `further`, where documents are searched: how many other chunks of it pass the filters and have the least score.
    """

    bucket: str
    key: str
    score: float
    text: str
    chunk: int
    start: int
    end: int
    etag: str
    meta: dict[str, Any]
    further: int | None = None


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The hits, best first, and the version they are from. An index that does not exist has generation 0."""

    version: str = ""
    generation: int = 0
    hits: list[Hit] = field(default_factory=list)


def run(loaded: Loaded | None, searches: Sequence[Search]) -> list[SearchResult | BadInput]:
    """The answer to each search, or why there is none.

    Fewer than `k` hits only where no more pass. Raises CorruptSegment where attributes of rows cannot be read.
    """
    queries: dict[int, Vectors] = {}
    answers: list[SearchResult | BadInput] = [SearchResult()] * len(searches)
    for number, search in enumerate(searches):
        try:
            _check(search)
            if loaded is not None:
                if search.model and search.model != loaded.manifest.model:
                    raise OtherModel
                if search.mode != "vector" and loaded.manifest.vectors and not hybrid.has_words(loaded.parts):
                    raise NoWords
                queries[number] = query_of(search.vector, loaded.manifest)
        except BadInput as error:
            answers[number] = error
    if loaded is not None:
        for number, hits in _answered(loaded, searches, queries):
            answers[number] = SearchResult(loaded.described.version, loaded.described.generation, hits)
    return answers


def _answered(
    loaded: Loaded, searches: Sequence[Search], queries: Mapping[int, Vectors]
) -> Iterable[tuple[int, list[Hit]]]:
    alike: dict[tuple[Filters | None, int], list[int]] = {}
    for number in queries:
        search = searches[number]
        # A search for many must not make the others look for as many; and some go on until they have enough.
        size = -number if search.group or search.mode == "text" else _count(search).bit_length()
        alike.setdefault((search.filters or None, size), []).append(number)
    for (filters, _), numbers in alike.items():
        parts, first = _allowed(loaded.parts, filters), searches[numbers[0]]
        if first.group and first.mode == "vector":
            (number,) = numbers
            yield number, _hits(parts, _documents(parts, queries[number], first), queries[number], first)
            continue
        count = max(_count(searches[number]) for number in numbers)
        asked = np.stack([queries[number] for number in numbers])
        found = [(part, part.search(asked, count, allowed)) for part, allowed in parts if first.mode != "text"]
        for place, number in enumerate(numbers):
            search = searches[number]
            chunks = ((score, part, row) for part, rows in found for score, row in rows[place])
            best = heapq.nlargest(_count(search), chunks, key=lambda chunk: chunk[0])
            if search.mode != "vector":
                best = hybrid.best(parts, queries[number], search, best)
            yield number, _hits(parts, best, queries[number], search)


def _count(search: Search) -> int:
    """How many of the nearest chunks it takes."""
    return search.k if search.mode == "vector" else hybrid.depth(search.k)


def _documents(parts: Sequence[tuple[Live, Bits | None]], query: Vectors, search: Search) -> list[Chunk]:
    chunks = ((score, part, row) for part, bits in parts for score, row in documents(part, query, search.k, bits))
    return heapq.nlargest(search.k, chunks, key=lambda chunk: chunk[0])


def _hits(
    parts: Sequence[tuple[Live, Bits | None]], chunks: Iterable[Chunk], query: Vectors, search: Search
) -> list[Hit]:
    high = list(_high(chunks, search))
    others: dict[tuple[int, int], int] = {}
    for part, bits in parts if search.group else ():
        rows = [row for _, mine, row in high if mine is part]
        counts = further(part, rows, query, bits, search.min_score) if rows else []
        others |= {(id(part), row): count for row, count in zip(rows, counts, strict=True)}
    return [_hit(part.segment, row, score, others.get((id(part), row))) for score, part, row in high]


def _allowed(parts: Iterable[Live], filters: Filters | None) -> list[tuple[Live, Bits | None]]:
    """The parts that have rows to look at, with those that pass."""
    living = [part for part in parts if part.ref.live]
    if filters is None:
        return [(part, None) for part in living]
    passing = [(part, part.segment.attributes.passing(filters)) for part in living]
    return [(part, bits) for part, bits in passing if bits.any()]


def _high(chunks: Iterable[Chunk], search: Search) -> Iterable[Chunk]:
    least = -np.inf if search.min_score is None else search.min_score
    return (chunk for chunk in chunks if chunk[0] >= least)


def _check(search: Search) -> None:
    if not 1 <= search.k <= MAX_K:
        raise BadInput(f"k must be between 1 and {MAX_K}, not {search.k}.")


def query_of(vector: Vectors, current: Manifest) -> Vectors:
    """A vector of length 1 with the dimensions of a version. Raises BadInput."""
    query = np.array(vector, np.float32).reshape(-1)
    if current.dimensions and len(query) != current.dimensions:
        raise BadInput(
            f"The vector has {len(query)} numbers; index {current.index!r} was made with {current.model} "
            f"and needs {current.dimensions}."
        )
    length = float(np.linalg.norm(query))
    if not np.isfinite(length) or length == 0:
        raise BadInput("The vector must hold finite numbers, and not only zeros.")
    normalised: Vectors = query / np.float32(length)
    return normalised


def _hit(segment: Segment, row: int, score: float, others: int | None = None) -> Hit:
    fields = segment.fields(row)
    return Hit(
        fields["bucket"],
        fields["key"],
        score,
        fields["text"],
        fields["chunk"],
        fields["start"],
        fields["end"],
        fields["etag"],
        fields["meta"],
        others,
    )
