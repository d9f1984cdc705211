"""What is asked of a reader of documents, and what it answers. Standard library only: both processes have it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

MOST_NOTES = 5
_GAP = "\n\n"


class Refused(Exception):
    """A document that cannot be read; the message is the cause, without the document's name."""


@dataclass(slots=True)
class Limits:
    """How far one document may go: `seconds` of work, after which what was read by then is the answer, and `pages`.

    `languages` are those of Tesseract, whose data lies in `tessdata`; none: pictures are not read.
    """

    seconds: float = 30.0
    pages: int = 10_000
    languages: list[str] = field(default_factory=list)
    tessdata: str = ""
    began: float = field(default_factory=time.monotonic)

    def over(self) -> bool:
        """Whether the time is up."""
        return self.left() <= 0

    def left(self) -> float:
        """Seconds until then."""
        return self.seconds - (time.monotonic() - self.began)


@dataclass(slots=True)
class Found:
    """The text of a document; `pages` are the offsets at which its pages begin, `notes` say what was left out.

    `passing`: the time was up, another time there may be more of it. `scanned`: pages that wait for OCR to be there.
    `busy`: a thread is still at work on it, this process is of no use any more.
    """

    text: str = ""
    title: str = ""
    pages: list[int] = field(default_factory=list)
    language: str = ""
    notes: list[str] = field(default_factory=list)
    passing: bool = False
    scanned: int = 0
    busy: bool = False

    def packed(self) -> dict[str, Any]:
        """As a message. A page of a thousand damaged ones is as good a note as all of them."""
        left = len(self.notes) - MOST_NOTES
        more = [f"and {left} more such notes"] if left > 0 else []
        return asdict(self) | {"notes": [note[:300] for note in self.notes[:MOST_NOTES]] + more}


def joined(pages: Sequence[str]) -> tuple[str, list[int]]:
    """The text of all pages, and the offset at which each begins; one without text begins where the next one does."""
    text, starts = "", []
    parts: list[str] = []
    size = 0
    for page in pages:
        gap = _GAP if size and page else ""
        starts.append(size + len(gap))
        if page:
            parts += [gap, page]
            size += len(gap) + len(page)
    text = "".join(parts)
    following = len(text)
    for number in range(len(pages) - 1, -1, -1):
        starts[number] = min(starts[number], len(text)) if pages[number] else following
        following = starts[number]
    return text, starts


def ranged(numbers: Sequence[int]) -> str:
    """Page numbers for people: `page 3`, `pages 3 to 7`, `pages 3, 5, 9, 11, 17 and 12 more`."""
    if len(numbers) == 1:
        return f"page {numbers[0]}"
    if len(numbers) > 2 and numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"pages {numbers[0]} to {numbers[-1]}"
    told = "pages " + ", ".join(map(str, numbers[:5]))
    return told if len(numbers) <= 5 else f"{told} and {len(numbers) - 5} more"
