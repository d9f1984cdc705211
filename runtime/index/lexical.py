"""Looking up words in a segment, and how rare they are in all segments together."""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from runtime.index.docs import Bits
from runtime.index.lexical_file import ROW, TEXT, analyzer, installed, unpacked

if TYPE_CHECKING:
    import tantivy

FEW = 1000
"""Rows of a selection that are named to tantivy, 5 µs each; of more, what is found is read on until enough passes."""

GROWTH = 4
log = logging.getLogger("tundish.index")
Term = tuple[str, ...]
"""A word as it is looked up; several, where one that was asked for is a name like `max_retries`: they must stand so."""


def terms(words: Iterable[str]) -> list[Term]:
    """What to look up for these words, each once."""
    cut = analyzer()
    return [term for term in dict.fromkeys(tuple(cut.analyze(word)) for word in words) if term]


@dataclass(frozen=True, slots=True)
class Lookup:
    """Terms, with how rare each word is in all segments together. So the scores of segments can be compared, and a
    word of a document that came a moment ago counts as much as in the large segment."""

    terms: Sequence[Term]
    rarity: Mapping[str, float]


def lookup(parts: Sequence[Lexical], wanted: Sequence[Term]) -> Lookup:
    """`wanted` as it is looked up in these."""
    rows = sum(part.rows for part in parts)
    words = {word for term in wanted for word in term}
    return Lookup(wanted, {word: _rarity(sum(part.holding(word) for part in parts), rows) for word in words})


def opened(folder: Path, digest: str, rows: int) -> Lexical | None:
    """The words of a segment; None where tantivy is missing, or is one that cannot read them: then texts are found by
    their vectors alone. Raises CorruptSegment."""
    if not installed():
        return None
    try:
        return Lexical(folder, digest, rows)
    except ValueError as error:
        log.error("segment %s: its texts are not found by their words: tantivy says: %s", folder.name[:12], error)
        return None


class Lexical:
    """Opened, and mapped. Searching is safe from many threads."""

    def __init__(self, folder: Path, digest: str, rows: int) -> None:
        """`digest`: the sha256 of lexical.tar. Raises CorruptSegment where that is another one, and ValueError where
        tantivy cannot use what it should be."""
        self.rows = rows
        target = unpacked(folder, digest)
        try:
            self._open(target)
        except ValueError:  # the copy was damaged since: another one
            shutil.rmtree(target, ignore_errors=True)
            self._open(unpacked(folder, digest))

    def holding(self, word: str) -> int:
        """How many rows have this word."""
        return self._searcher.doc_freq(TEXT, word)

    def search(self, asked: Lookup, k: int, allowed: Bits | None = None) -> list[tuple[float, int]]:
        """The best `k` of the rows that have one of the terms at least, as (score by BM25, row), best first.

        `allowed`: only these rows are looked at.
        """
        query = self._query(asked)
        if query is None:
            return []
        if allowed is None:
            return list(self._best(query, min(k, self.rows)))
        count = int(np.bitwise_count(allowed).sum(dtype=np.int64))
        if count <= FEW:
            rows = np.flatnonzero(np.unpackbits(allowed, count=self.rows, bitorder="little")).tolist()
            return list(self._best(self._among(query, rows), min(k, count))) if rows else []
        depth = min(self.rows, 2 * k * self.rows // count)
        while True:
            found = list(self._best(query, depth))
            passing = [(score, row) for score, row in found if allowed[row >> 3] >> (row & 7) & 1]
            if len(passing) >= k or len(found) < depth or depth == self.rows:
                return passing[:k]
            depth = min(self.rows, depth * GROWTH)

    def _open(self, folder: Path) -> None:
        import tantivy

        index = tantivy.Index.open(str(folder))
        self._schema, self._searcher = index.schema, index.searcher()
        if self._searcher.num_docs != self.rows:
            raise ValueError(f"it has {self._searcher.num_docs} rows, not {self.rows}")

    def _query(self, asked: Lookup) -> tantivy.Query | None:
        import tantivy

        parts = []
        for term in asked.terms:
            held = [self.holding(word) for word in term]
            if not all(held):
                continue
            make: Any = tantivy.Query
            plain = (
                make.term_query(self._schema, TEXT, term[0])
                if len(term) == 1
                else make.phrase_query(self._schema, TEXT, list(term))
            )
            here = sum(_rarity(count, self.rows) for count in held)
            everywhere = sum(asked.rarity[word] for word in term)
            parts.append((tantivy.Occur.Should, make.boost_query(plain, everywhere / here)))
        return tantivy.Query.boolean_query(parts) if parts else None

    def _among(self, query: tantivy.Query, rows: Sequence[int]) -> tantivy.Query:
        import tantivy

        make: Any = tantivy.Query
        among = make.const_score_query(make.term_set_query(self._schema, ROW, rows), 0.0)
        found: tantivy.Query = make.boolean_query([(tantivy.Occur.Must, query), (tantivy.Occur.Must, among)])
        return found

    def _best(self, query: tantivy.Query, count: int) -> Iterator[tuple[float, int]]:
        hits = self._searcher.search(query, count, count=False).hits
        rows: Any = self._searcher.fast_field_values(ROW, [address for _, address in hits])
        return zip((score for score, _ in hits), rows, strict=True)


def _rarity(holding: int, rows: int) -> float:
    """The inverse document frequency of BM25, as tantivy has it."""
    return math.log1p((rows - holding + 0.5) / (holding + 0.5))
