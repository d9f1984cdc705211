"""From a batch's members to its rows and vectors, within the memory and the time there is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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

SLICE = 64
"""Chunks that are embedded at once, of however many members: passes over single small documents cost twice the time."""

# The share of the time limit that is kept for writing the batch.
_RESERVE = 0.25
_PARSE_SECONDS = (2.0, 30.0)


@dataclass(slots=True)
class Work:
    """`done` members have their rows in `rows`; `vectors` belong to the `put` rows, in order."""

    rows: list[Row]
    vectors: Vectors
    done: list[Member]
    deferred: list[Member]


class OutOfTime(Exception):
    """The time limit of this invocation is near."""


def embed(members: Sequence[Member], context: Context) -> Work:
    """Extract, chunk and embed, one member after the other; what does not fit into the time is deferred.

    At least one member is done: a document that no invocation has the time for is a failure.
    """
    time = context.time_left()
    reserve = (time or 0.0) * _RESERVE
    passes = _Passes(context.models, lambda: _check_time(context, reserve))
    rows: list[Row] = []
    done: list[Member] = []
    deferred: list[Member] = []
    for place, member in enumerate(members):
        known = len(passes)
        try:
            _check_time(context, reserve)
            chunks = _rows(member, context)
            passes.add([row.text for row in chunks if row.op == "put"])
        except OutOfTime:
            passes.keep(known)
            if done:
                deferred = list(members[place:])
                break
            chunks = [_failed(member, context, _TOO_LONG.format(name=member.name), passing=True)]
        member.data, member.text = b"", None  # only its rows are needed now
        rows += chunks
        done.append(member)
    return Work(rows, passes.vectors(), done, deferred)


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


class _Passes:
    """Texts in, vectors out in the same order, with full passes of the model; `check` may end it between two."""

    def __init__(self, models: Models, check: Callable[[], None]) -> None:
        self._models, self._check = models, check
        self._waiting: list[str] = []
        self._parts: list[Vectors] = []

    def __len__(self) -> int:
        return sum(map(len, self._parts)) + len(self._waiting)

    def add(self, texts: Sequence[str]) -> None:
        """Raises what `check` raises; what came before these texts is embedded by then, or waits."""
        self._waiting += texts
        for number in range(len(self._waiting) // SLICE):
            if number:
                self._check()
            self._embed()

    def keep(self, count: int) -> None:
        """Forget all but the first `count` texts."""
        self._waiting = self._waiting[: max(0, count - (len(self) - len(self._waiting)))]
        self._parts = [self._joined()[:count]]

    def vectors(self) -> Vectors:
        if self._waiting:
            self._embed()
        return self._joined()

    def _embed(self) -> None:
        part, self._waiting = self._waiting[:SLICE], self._waiting[SLICE:]
        self._parts.append(self._models.embed(part))

    def _joined(self) -> Vectors:
        import numpy as np

        return np.concatenate([np.zeros((0, self._models.dimensions), np.float32), *self._parts])
