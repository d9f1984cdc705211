"""From a batch's members to its rows and vectors, within the memory and the time there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from runtime.context import Context, Models, Row
from runtime.errors import BadInput

from ._chunk import chunk, sections
from ._extractor import Unreadable, of_this_process
from ._members import Member
from ._text import Text, read_text

if TYPE_CHECKING:
    from runtime.context import Vectors

SLICE = 256
"""Chunks that are embedded at once."""

# The share of the time limit that is kept for writing the batch.
_RESERVE = 0.25
_PARSE_SECONDS = (2.0, 30.0)


@dataclass(slots=True)
class Work:
    """`done` members have their rows in `rows`; `vectors` belong to the `put` rows, in order."""

    rows: list[Row]
    vectors: Vectors
    done: list[Member]
    deferred: list[Member] = field(default_factory=list)


class OutOfTime(Exception):
    """The time limit of this invocation is near."""


def embed(members: Sequence[Member], context: Context) -> Work:
    """Extract, chunk and embed, one member after the other; what does not fit into the time is deferred.

    At least one member is done: a document that no invocation has the time for is a failure.
    """
    import numpy as np

    time = context.time_left()
    reserve = (time or 0.0) * _RESERVE
    rows: list[Row] = []
    parts: list[Vectors] = []
    done: list[Member] = []
    for place, member in enumerate(members):
        try:
            _check_time(context, reserve)
            chunks = _rows(member, context)
            vectors = _vectors(chunks, context, reserve)
        except OutOfTime:
            if done:
                return Work(rows, _joined(parts, context.models), done, list(members[place:]))
            chunks, vectors = [_failed(member, context, _TOO_LONG.format(name=member.name), passing=True)], []
        member.data, member.text = b"", None  # only its rows are needed now
        rows += chunks
        parts += [np.asarray(part) for part in vectors]
        done.append(member)
    return Work(rows, _joined(parts, context.models), done)


_TOO_LONG = "{name} is too long to be embedded within the function's time limit. Split it, or raise its `timeout`."


def _check_time(context: Context, reserve: float) -> None:
    left = context.time_left()
    if left is not None and left < reserve:
        raise OutOfTime


def _rows(member: Member, context: Context) -> list[Row]:
    """The rows of one member: its chunks, or the word that it is gone."""
    if member.problem:
        return [_failed(member, context, member.problem)]
    if member.op == "delete":
        return [_row(member, context)]
    try:
        text = Text(member.text, "text") if member.text is not None else _extract(member, context)
    except BadInput as error:
        return [_failed(member, context, str(error), passing=isinstance(error, Unreadable) and error.passing)]
    if member.bucket:
        member.meta["suffix"] = PurePosixPath(member.key).suffix.lower()
        if text.title:
            member.meta["title"] = text.title
    return [
        _row(member, context, number, start, end, text.text)
        for number, (start, end) in enumerate(_ranges(text.text, context.models))
    ] or [_failed(member, context, f"{member.name} has no readable characters: there is nothing to index.")]


def _extract(member: Member, context: Context) -> Text:
    shortest, longest = _PARSE_SECONDS
    left = context.time_left()
    # A few slow documents must not take the time of all others.
    timeout = longest if left is None else max(shortest, min(longest, left / 4))
    return read_text(member.key, member.data, of_this_process(), timeout=timeout)


def _ranges(text: str, models: Models) -> list[tuple[int, int]]:
    ranges = []
    for first, last in sections(text):
        part = text[first:last]
        ranges += [(first + start, first + end) for start, end in chunk(part, models.tokenize(part)) if start < end]
    return ranges


def _row(
    member: Member, context: Context, number: int = 0, start: int = 0, end: int = 0, text: str | None = None
) -> Row:
    return Row(
        member.bucket,
        member.key,
        member.etag,
        member.seq,
        "delete" if text is None else "put",
        context.tenant,
        number,
        start,
        end,
        text[start:end] if text is not None else "",
        member.meta if text is not None else {},
    )


def _failed(member: Member, context: Context, reason: str, *, passing: bool = False) -> Row:
    """An unreadable document leaves the index: its older version is no longer what is stored under its name."""
    row = _row(member, context)
    row.meta.update({"failed": reason, **({"passing": True} if passing else {})})
    return row


def _vectors(rows: Sequence[Row], context: Context, reserve: float) -> list[Vectors]:
    texts = [row.text for row in rows if row.op == "put"]
    parts = []
    for first in range(0, len(texts), SLICE):
        if first:
            _check_time(context, reserve)
        parts.append(context.models.embed(texts[first : first + SLICE]))
    return parts


def _joined(parts: Sequence[Vectors], models: Models) -> Vectors:
    import numpy as np

    return np.concatenate(parts) if parts else np.zeros((0, models.dimensions), np.float32)
