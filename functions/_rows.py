"""From a batch's members to its rows and vectors, within the memory and the time there is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from runtime.context import Chunking, Context, Extraction, Models, Row
from runtime.errors import BadInput

from ._ahead import ahead
from ._extractor import Unreadable, of_this_process
from ._kinds import suffix_of
from ._members import Member
from ._passes import AMPLE_SECONDS, LARGE, SMALL, Passes
from ._pieces import Piece, pieces
from ._recall import Once, Recall
from ._text import Text, read_text

if TYPE_CHECKING:
    from runtime.context import Vectors

# The share of the time limit that is kept for writing the batch.
_RESERVE = 0.25
_LEAST_SECONDS = 2.0
"""For one document, however little time there is."""


@dataclass(slots=True)
class Work:
    """`done` members have their rows in `rows`; `vectors` belong to the `put` rows, in order."""

    rows: list[Row]
    vectors: Vectors
    done: list[Member]
    deferred: list[Member]
    embedded: int
    """Texts that the model has embedded; the vectors of the others were known, or those of a text like them."""


class OutOfTime(Exception):
    """The time limit of this invocation is near."""


def embed(
    members: Sequence[Member],
    context: Context,
    models: Models,
    recall: Recall,
    chunking: Chunking,
    extraction: Extraction,
) -> Work:
    """Read, extract, chunk and embed, all at the same time; what does not fit into the time is deferred.

    What `recall` knows is not done again.
    At least one member is done: a document that no invocation has the time for is a failure.
    """
    time = context.time_left()
    check = partial(_check_time, context, (time or 0.0) * _RESERVE)
    rows: list[Row] = []
    done: list[Member] = []
    deferred: list[Member] = []
    turn = LARGE if time is None or time >= AMPLE_SECONDS else SMALL
    with Passes(models, check, turn) as turns, closing(ahead(members)) as read:
        passes = Once(turns, recall.vectors)
        for place, member in enumerate(read):
            before = len(passes)
            try:
                check()
                known, member.tries = recall.rows(member, member.tenant), recall.tries(member)
                chunks = known or _rows(member, context, models, chunking, extraction, check)
                passes.add([row.text for row in chunks if row.op == "put"])
            except OutOfTime:
                passes.keep(before)
                if done:
                    deferred = list(members[place:])
                    break
                chunks = [_failed(member, context, _TOO_LONG.format(name=member.name), passing=True)]
            member.data, member.text = b"", None  # only its rows are needed now
            rows += chunks
            done.append(member)
        return Work(rows, passes.vectors(), done, deferred, passes.embedded)


_TOO_LONG = "{name} is too long to be embedded within the function's time limit. Split it, or raise its `timeout`."


def _check_time(context: Context, reserve: float) -> None:
    left = context.time_left()
    if left is not None and left < reserve:
        raise OutOfTime


def _rows(
    member: Member,
    context: Context,
    models: Models,
    chunking: Chunking,
    extraction: Extraction,
    check: Callable[[], None],
) -> list[Row]:
    """The rows of one member: its chunks, or the word that it is gone. Raises what `check` raises."""
    if member.problem:
        return [_failed(member, context, member.problem)]
    if member.op == "delete":
        return [_row(member, context)]
    try:
        text = Text(member.text, "text") if member.text is not None else _extract(member, context, extraction)
    except BadInput as error:
        return [_failed(member, context, str(error), passing=isinstance(error, Unreadable) and error.passing)]
    if member.bucket:
        found = {"title": text.title, "language": text.language, "notes": list(text.notes)}
        member.meta["suffix"] = suffix_of(member.key)
        member.meta |= {name: value for name, value in found.items() if value}
        if text.passing:
            member.meta["passing"] = member.tries + 1
    cut = pieces(text, models, chunking, check)
    return [_row(member, context, number, piece, text.text) for number, piece in enumerate(cut)] or [
        _failed(member, context, f"{member.name} has no readable characters: there is nothing to index.")
    ]


def _extract(member: Member, context: Context, extraction: Extraction) -> Text:
    left = context.time_left()
    # A few slow documents must not take the time of all others.
    timeout = extraction.seconds if left is None else max(_LEAST_SECONDS, min(extraction.seconds, left / 4))
    extractor = of_this_process(extraction.memory)
    return read_text(member.key, member.data, extractor, timeout=timeout, extraction=extraction)


def _row(member: Member, context: Context, number: int = 0, piece: Piece | None = None, text: str = "") -> Row:
    """A chunk's row; without a piece, the word that the member is gone."""
    if piece is None:
        return Row(member.bucket, member.key, member.etag, member.seq, "delete", member.tenant)
    # What came in a call says of itself what it wants.
    meta = member.meta | piece.meta if member.bucket and piece.meta else member.meta
    start, end = piece.start, piece.end
    return Row(
        member.bucket,
        member.key,
        member.etag,
        member.seq,
        "put",
        member.tenant,
        number,
        start,
        end,
        text[start:end],
        meta,
    )


def _failed(member: Member, context: Context, reason: str, *, passing: bool = False) -> Row:
    """An unreadable document leaves the index: its older version is no longer what is stored under its name."""
    row = _row(member, context)
    row.meta.update({"failed": reason, **({"passing": member.tries + 1} if passing else {})})
    return row
