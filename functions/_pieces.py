"""The chunks of a document's text, and what is said of each: its headings, its page, the names of its columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from runtime.context import Chunking, Models

from ._chunk import Range, chunk, is_one, sections, stripped
from ._layout import CODE, Layout, headings, layout, page, paths
from ._tables import headers, tables
from ._text import Text


@dataclass(frozen=True, slots=True)
class Piece:
    """A chunk: `text[start:end]` of the document's text.

    `meta` has `headings`, `page` and `header` (of the table in whose rows it begins) where there are any.
    """

    start: int
    end: int
    meta: dict[str, Any] = field(default_factory=dict)


def pieces(text: Text, models: Models, chunking: Chunking, check: Callable[[], None] = lambda: None) -> list[Piece]:
    """Cut a text into chunks for a model; white space alone is no chunk. `check` may end it: a text may be long."""
    if not text.pages and _is_bare(text) and is_one(text.text, chunking.tokens):
        check()
        return [Piece(*stripped(text.text, 0, len(text.text)))]
    found = headings(text.text, text.kind)
    ranges = list(_ranges(text.text, models, chunking, layout(text.text, text.kind, found), check))
    starts = [start for start, _ in ranges]
    above, columns = paths(found, starts), headers([] if text.kind == CODE else tables(text.text), starts)
    return [
        Piece(start, end, _said(titles, page(text.pages, start), header))
        for (start, end), titles, header in zip(ranges, above, columns, strict=True)
    ]


def _is_bare(text: Text) -> bool:
    """Whether it is seen at once that there is no heading and no table in it, as in most texts of one line."""
    return text.kind == CODE or ("\n" not in text.text and "#" not in text.text)


def _ranges(text: str, models: Models, chunking: Chunking, whole: Layout, check: Callable[[], None]) -> Iterator[Range]:
    for first, last in sections(text, layout=whole):
        check()
        part = text[first:last]
        if is_one(part, chunking.tokens):
            yield stripped(text, first, last)
            continue
        cut = chunk(part, models.tokenize(part), chunking.tokens, chunking.overlap, whole.part(first, last))
        yield from ((first + start, first + end) for start, end in cut if start < end)


def _said(titles: list[str], number: int, header: str) -> dict[str, Any]:
    said: dict[str, Any] = {"headings": titles, "page": number, "header": header}
    return {name: value for name, value in said.items() if value}
