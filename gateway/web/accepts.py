"""What a caller wants the answer to be, by its Accept header. `*/*` and no header mean: as the function has it."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.datastructures import Headers

NDJSON = "application/x-ndjson"
EVENT_STREAM = "text/event-stream"
JSON = "application/json"
STREAMS = (NDJSON, EVENT_STREAM, JSON)
"""What the items of a generator can be sent as; the first is for whom anything will do."""
ARRAYS = ("application/x-npy", "application/octet-stream")
"""What an array can be sent as, besides JSON."""

_OTHER_NAMES = {"application/ndjson": NDJSON, "application/jsonl": NDJSON, "application/x-jsonlines": NDJSON}


def chosen(headers: Headers, offered: Sequence[str]) -> str | None:
    """The offered media type that the caller likes best; None where it names none of them and takes nothing else.

    Ranges count as in RFC 9110: by their `q`, and by how exact they are; of equal ones the first that is offered.
    """
    ranges = [_range(part) for part in ",".join(headers.getlist("accept")).split(",") if part.strip()]
    if not ranges:
        return offered[0]
    scored = [(_quality(kind, ranges), -position, kind) for position, kind in enumerate(offered)]
    quality, _, kind = max(scored)
    return kind if quality > 0 else None


def named(headers: Headers, offered: Sequence[str]) -> str | None:
    """The first of the offered media types that is named as such, not by a range."""
    asked = ",".join(headers.getlist("accept"))
    if asked in ("", "*/*"):  # which is what most clients send
        return None
    given = {name for part in asked.split(",") for name, q in [_range(part)] if q > 0}
    return next((kind for kind in offered if kind in given), None)


def _range(part: str) -> tuple[str, float]:
    name, *parameters = (piece.strip().lower() for piece in part.split(";"))
    quality = 1.0
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                quality = max(0.0, min(1.0, float(parameter[2:])))
            except ValueError:
                quality = 0.0
    return _OTHER_NAMES.get(name, name), quality


def _quality(kind: str, ranges: Sequence[tuple[str, float]]) -> float:
    """The quality of the most exact range that a media type is in."""
    for wanted in (kind, f"{kind.partition('/')[0]}/*", "*/*"):
        found = [quality for name, quality in ranges if name == wanted]
        if found:
            return max(found)
    return 0.0
