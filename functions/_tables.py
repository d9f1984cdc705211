"""Tables in a text: which lines are their rows, and the line that names the columns of these. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

HEADER = 500
"""Characters of a header that a chunk repeats in its `header`."""

_TABLE = re.compile(
    r"^(?P<header>[ \t]*+\|[^\n]*+)\n[ \t]*+\|(?:[ \t]*+:?-++:?[ \t]*+\|)++[ \t]*+$(?P<rows>(?:\n[ \t]*+\|[^\n]*+)*+)",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of a table, without the line above them that names the columns: `header`."""

    start: int
    end: int
    header: str


def tables(text: str) -> list[Table]:
    """The tables of a text that have a header, as Markdown marks it (and as sheets are written here)."""
    if "|" not in text:
        return []
    return [
        Table(m.start("rows") + 1, m.end(), m["header"].strip()[:HEADER]) for m in _TABLE.finditer(text) if m["rows"]
    ]


def headers(found: Sequence[Table], offsets: Sequence[int]) -> Iterator[str]:
    """The header of the table in whose rows each of some ascending offsets is; empty where it is in none."""
    place = 0
    for offset in offsets:
        while place < len(found) and found[place].end <= offset:
            place += 1
        yield found[place].header if place < len(found) and found[place].start <= offset else ""


def in_row(text: str, place: int, longest: int = 4000) -> bool:
    """Whether the line around a place is the row of a table: cells between bars or tabs."""
    start = text.rfind("\n", max(0, place - longest), place) + 1
    end = text.find("\n", place, place + longest)
    line = text[start or max(0, place - longest) : end if end >= 0 else place + longest]
    return line.count("\t") > 1 or (line.lstrip().startswith("|") and line.count("|") > 2)
