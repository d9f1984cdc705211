"""Searching by words, and by words and vectors together: two lists of the whole version become one, by rank."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from runtime.index import lexical
from runtime.index.docs import Bits, Vectors
from runtime.index.lexical import Term

if TYPE_CHECKING:
    from runtime.index.live import Live
    from runtime.index.search import Chunk, Search

Mode = Literal["vector", "text", "hybrid"]

CONSTANT = 60
"""Of reciprocal rank fusion: a chunk has 1 / (60 + its place) from each list that has it, and the sums decide."""

LEAST, FOR_EACH = 100, 5
"""Chunks of each list: so many, and at least so many for each result."""

MOST, GROWTH = 10_000, 4
"""Where these give too few documents, or too few with the least score, as many times more are taken, up to `MOST`."""

MOST_WORDS = 100
"""Of a longer text the first ones are looked up."""

_WORD = re.compile(r"\w+")
_COMMON = """
a an and are as at be by can do for from has have how if in into is it its not of on or so than that the their
them then there these this to was what when where which will with you your
"""
COMMON = frozenset(_COMMON.split())
"""Words that say nothing; looked up only where a text has no others."""


def depth(k: int) -> int:
    """How many chunks of each list `k` results are made from."""
    return max(LEAST, FOR_EACH * k)


def terms(text: str) -> list[Term]:
    """What to look up for a text."""
    words = list(dict.fromkeys(_WORD.findall(text)))
    telling = [word for word in words if word.lower() not in COMMON]
    return lexical.terms((telling or words)[:MOST_WORDS])


def has_words(parts: Iterable[Live]) -> bool:
    """Whether any of the parts can be searched by words."""
    return any(part.segment.lexical for part in parts)


def best(
    parts: Sequence[tuple[Live, Bits | None]], query: Vectors, search: Search, nearest: Sequence[Chunk]
) -> list[Chunk]:
    """The `k` chunks that a search is answered with, best first; their scores are cosines.

    `parts` with the rows that are looked at; `nearest`: the `depth(k)` nearest chunks. A part without words adds to
    the nearest ones only. With `group`, only the best chunk of each document.
    """
    wanted, count = terms(search.text), depth(search.k)
    asked = lexical.lookup([part.segment.lexical for part, _ in parts if part.segment.lexical], wanted)
    while True:
        worded = _largest(count, ((part, part.worded(asked, count, allowed)) for part, allowed in parts))
        found = _chosen(_fused(nearest, worded, query), search)
        if len(found) >= search.k or count >= MOST or _complete(nearest, worded, count, search):
            return found[: search.k]
        count = min(MOST, count * GROWTH)
        if search.mode == "hybrid":
            nearest = near(parts, query, count)


def near(parts: Sequence[tuple[Live, Bits | None]], query: Vectors, count: int) -> list[Chunk]:
    """The `count` chunks nearest to a vector, best first."""
    return _largest(count, ((part, part.search(query.reshape(1, -1), count, allowed)[0]) for part, allowed in parts))


def _largest(count: int, found: Iterable[tuple[Live, Sequence[tuple[float, int]]]]) -> list[Chunk]:
    chunks = ((score, part, row) for part, rows in found for score, row in rows)
    return heapq.nlargest(count, chunks, key=lambda chunk: chunk[0])


def _fused(nearest: Sequence[Chunk], worded: Sequence[Chunk], query: Vectors) -> list[Chunk]:
    """Both lists as one, with cosines. Of two chunks that are equal, the one that has the words comes first."""
    ranks: dict[tuple[int, int], float] = {}
    known = {}
    for chunks in (_scored(worded, query), nearest):
        for place, chunk in enumerate(chunks, 1):
            name = id(chunk[1]), chunk[2]
            ranks[name] = ranks.get(name, 0.0) + 1 / (CONSTANT + place)
            known[name] = chunk
    return [known[name] for name in sorted(ranks, key=lambda name: -ranks[name])]


def _scored(chunks: Sequence[Chunk], query: Vectors) -> list[Chunk]:
    """The same chunks with cosines for scores."""
    scores = np.empty(len(chunks), np.float32)
    for part in {id(part): part for _, part, _ in chunks}.values():
        places = np.array([place for place, chunk in enumerate(chunks) if chunk[1] is part])
        scores[places] = part.segment.vectors(np.array([chunks[place][2] for place in places])) @ query
    return [(score, part, row) for score, (_, part, row) in zip(scores.tolist(), chunks, strict=True)]


def _chosen(chunks: Iterable[Chunk], search: Search) -> list[Chunk]:
    least = -np.inf if search.min_score is None else search.min_score
    high = [chunk for chunk in chunks if chunk[0] >= least]
    if not search.group:
        return high
    documents: dict[tuple[str, str], Chunk] = {}
    for score, part, row in high:
        fields = part.segment.fields(row)
        documents.setdefault((fields["bucket"], fields["key"]), (score, part, row))
    return list(documents.values())


def _complete(nearest: Sequence[Chunk], worded: Sequence[Chunk], count: int, search: Search) -> bool:
    """Whether longer lists would add nothing."""
    if search.mode == "text":
        return len(worded) < count
    # What is not among the nearest has less than the last of them.
    below = search.min_score is not None and bool(nearest) and nearest[-1][0] < search.min_score
    return len(nearest) < count or below
