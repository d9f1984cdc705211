"""What a text is made of: where headings, definitions and pages begin. Pure."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

CODE = "code"
"""The kind of texts that are source code (`Text.kind`)."""

TITLE = 200
"""Characters of a heading that a chunk repeats in its `headings`."""

# A paragraph above the title, and no indentation: what is underlined within a text is a table or a rule.
_UNDERLINED = re.compile(
    r"(?:\A|(?<=\n\n))(?P<title>[^\s|].{0,200})\n(?P<line>=|-|~|\^|\*|\+)(?P=line){2,200}[ \t]*(?=\n|\Z)"
)
_MARKED = re.compile(r"^(?P<marks>#{1,6})[ \t]{1,20}(?P<title>\S[^\n]{0,300})$", re.MULTILINE)
_FENCED = re.compile(r"^(?P<fence>`{3,}|~{3,}).*?(?:^(?P=fence)|\Z)", re.MULTILINE | re.DOTALL)
_LINES = {"=": 1, "-": 2}
_DEFINED = re.compile(
    r"^(?:@\w|(?:(?:export|default|public|private|protected|internal|static|final|abstract|sealed|async|pub|unsafe|"
    r"inline|template|pub\([a-z]+\))[ \t]+)*(?:def|class|function|func|fn|fun|sub|interface|struct|enum|union|impl|"
    r"trait|module|namespace|record|object|procedure|type|macro_rules!)\b)",
    re.MULTILINE,
)
_JOINERS = "\u200d\u200c"
_SKIN = ("\U0001f3fb", "\U0001f3ff")
_FLAGS = ("\U0001f1e6", "\U0001f1ff")


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading: its range in the text, without what is before and after its line; `level` 1 is the highest."""

    start: int
    end: int
    level: int
    title: str


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a text is best cut. `starts` are offsets with which something new begins; `ends` those where a heading
    ends, which must not be torn off what follows. `rows`: a line is a whole, as in source code."""

    starts: Sequence[int] = ()
    ends: Sequence[int] = ()
    rows: bool = False

    def before(self, offset: int) -> Iterator[int]:
        """The offsets up to this one with which something new begins, the last one first."""
        for place in range(bisect_right(self.starts, offset) - 1, -1, -1):
            yield self.starts[place]

    def begins(self, after: int, before: int) -> bool:
        """Whether something new begins between two offsets, the latter included."""
        place = bisect_right(self.starts, before)
        return place > 0 and self.starts[place - 1] >= after

    def torn(self, after: int, before: int) -> bool:
        """Whether a heading ends there."""
        place = bisect_left(self.ends, after)
        return place < len(self.ends) and self.ends[place] <= before

    def part(self, first: int, last: int) -> Layout:
        """The layout of a part of the text."""
        starts = self.starts[bisect_left(self.starts, first) : bisect_left(self.starts, last)]
        ends = self.ends[bisect_left(self.ends, first) : bisect_right(self.ends, last)]
        return Layout([start - first for start in starts], [end - first for end in ends], self.rows)


def layout(text: str, kind: str, found: Sequence[Heading]) -> Layout:
    """Of a text with these headings."""
    if kind == CODE:
        return Layout(list(_definitions(text)), (), rows=True)
    return Layout([heading.start for heading in found], [heading.end for heading in found])


def headings(text: str, kind: str = "text") -> list[Heading]:
    """The headings of a text, as Markdown and reStructuredText mark them."""
    if kind == CODE:
        return []
    marked = _MARKED.finditer(text) if "#" in text else ()
    underlined = _UNDERLINED.finditer(text) if "\n" in text else ()
    found = [Heading(m.start(), m.end(), len(m["marks"]), _title(m["title"])) for m in marked]
    found += [Heading(m.start(), m.end(), _LINES.get(m["line"], 3), m["title"].rstrip()) for m in underlined]
    fences = [m.span() for m in _FENCED.finditer(text)] if "```" in text or "~~~" in text else []
    found.sort(key=lambda heading: heading.start)
    return [one for one in found if not _within(fences, one.start)]


def _within(spans: Sequence[tuple[int, int]], offset: int) -> bool:
    """Whether an offset is in one of some ascending spans."""
    place = bisect_right(spans, offset, key=lambda span: span[0])
    return place > 0 and offset < spans[place - 1][1]


def _title(title: str) -> str:
    """Without the marks that may close it."""
    title = title.rstrip()
    bare = title.rstrip("#")
    return bare.rstrip() if bare[-1:] in (" ", "\t") else title


def paths(found: Sequence[Heading], offsets: Sequence[int]) -> Iterator[list[str]]:
    """The titles of the headings under which each of some ascending offsets stands, the highest first."""
    open_: list[Heading] = []
    place = 0
    for offset in offsets:
        while place < len(found) and found[place].start <= offset:
            open_ = [one for one in open_ if one.level < found[place].level] + [found[place]]
            place += 1
        yield [one.title[:TITLE] for one in open_]


def page(pages: Sequence[int], offset: int) -> int:
    """The number of the page, from 1 on, on which an offset is; 0 where there are no pages."""
    return max(1, bisect_right(pages, offset)) if pages else 0


def joined(text: str, place: int) -> bool:
    """Whether the characters before and at a place are parts of one that people see: an accent, an emoji's parts."""
    if not 0 < place < len(text):
        return False
    left, right = text[place - 1], text[place]
    if right < "\u0300":
        return False
    if right in _JOINERS or left == "\u200d" or unicodedata.category(right)[0] == "M" or _SKIN[0] <= right <= _SKIN[1]:
        return True
    if not _FLAGS[0] <= right <= _FLAGS[1]:
        return False
    first = place
    while max(0, place - 100) < first and _FLAGS[0] <= text[first - 1] <= _FLAGS[1]:
        first -= 1
    return (place - first) % 2 == 1  # a flag is two letters


def _definitions(text: str) -> Iterator[int]:
    """Where functions and classes begin that stand at the left margin, what is written above them included."""
    decorated = -1
    for found in _DEFINED.finditer(text):
        start = found.start()
        if text[start] == "@":
            if decorated < 0 or text[decorated:start].count("\n\n"):
                decorated = start
                yield start
            continue
        above = decorated >= 0 and "\n\n" not in text[decorated:start]
        decorated = -1
        if not above:
            yield start
