"""One document as a version of an index holds it: which content, how many chunks, and its text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol


class Rows(Protocol):
    """Where the rows are: a segment, or what an engine said of them."""

    def fields(self, row: int) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Held:
    """`rows` are its searchable rows in `segment`, in the order of its chunks."""

    seq: int
    etag: str
    segment: Rows
    rows: tuple[int, ...]

    def text(self, limit: int) -> tuple[str, bool]:
        """At most `limit` characters of the text that was embedded, and whether that is all of it.

        What two chunks share comes once; white space between them, which no chunk keeps, is a line's end.
        """
        text, end = "", 0
        for row in self.rows:
            fields = self.segment.fields(row)
            piece, start = fields["text"], fields["start"]
            shared = end - start
            if shared > 0 and text.endswith(piece[:shared]):
                text += piece[shared:]
            elif text and shared != 0:
                text += "\n" + piece
            else:
                text += piece
            end = max(end, fields["end"])
            if len(text) > limit:
                return text[:limit], False
        return text, True
