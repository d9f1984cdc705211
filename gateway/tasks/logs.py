"""`GET /api/v1/tasks/task/ID/logs`: what an invocation put out. `GET /api/v1/logs`: the newest of all of them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from gateway import state
from gateway.access import tenancy
from gateway.tasks.status import find
from gateway.web.fields import Given, parse
from gateway.web.problems import refuse
from gateway.web.streams import EVENT_STREAM, Pace, event, retry_hint
from runtime import keys
from runtime.attempts.lines import ALL_CAP, ENTRIES_CAP, PROGRESS, Line, decode
from runtime.broker.connection import translated
from runtime.errors import BrokerDown

PAGE = 1000
_ENTRY = re.compile(r"\d{1,20}-\d{1,20}")
_NDJSON = "application/x-ndjson"


class Query(Given):
    """Which lines of one invocation, and how they are shown."""

    stream: Literal["stdout", "stderr", "log"] | None = None
    tail: Annotated[int, Field(ge=0, le=ENTRIES_CAP)] | None = None
    format: Literal["text", "json"] | None = None


class Newest(Given):
    """How many of the newest lines of all invocations."""

    tail: Annotated[int, Field(ge=0, le=ALL_CAP)] | None = None


async def logs(request: Request) -> Response:
    """The lines that are kept, oldest first: text, or JSON by `format` or `Accept`. 404 for an unknown task."""
    query = parse(Query, request.query_params)
    gateway, record = state.of(request), await find(request)
    lines = [
        line
        for line in await _all(gateway, keys.log(record.carrier or record.id))
        if line.stream != PROGRESS and query.stream in (None, line.stream)
    ]
    if query.tail is not None:
        lines = lines[max(0, len(lines) - query.tail) :]
    headers = {"X-Call-Id": record.id, "Cache-Control": "no-store"}
    wants_json = "application/json" in request.headers.get("accept", "")
    if query.format == "json" or (query.format is None and wants_json):
        told = {"task_id": record.id, "lines": [line.shown() for line in lines]}
        return Response(to_json(told), headers=headers, media_type="application/json")
    text = "".join(f"{line.plain()}\n" for line in lines)
    return Response(text.encode(errors="replace"), headers=headers, media_type="text/plain")


async def newest(request: Request) -> Response:
    """The newest lines of all invocations, a JSON object a line. As text/event-stream it goes on with what comes."""
    query, gateway, only = parse(Newest, request.query_params), state.of(request), tenancy.only(request)
    if EVENT_STREAM not in request.headers.get("accept", ""):
        tail = 100 if query.tail is None else query.tail
        lines = _of(await _newest(gateway, tail if only is None else ALL_CAP), only, tail)
        content = b"".join(to_json(line.shown()) + b"\n" for line in lines)
        return Response(content, headers={"Cache-Control": "no-store"}, media_type=_NDJSON)
    place = request.headers.get("last-event-id", "")
    if place and not _ENTRY.fullmatch(place):
        refuse(400, f"Last-Event-ID {place[:100]!r} is not the id of an event of this stream.")
    if request.method == "HEAD":
        return Response(headers={"Content-Type": EVENT_STREAM})
    tail = query.tail or 0
    first = [] if place else await _newest(gateway, max(1, tail) if only is None else ALL_CAP)
    start = place or (first[-1].id if first else "0-0")
    return gateway.streams.open(_follow(gateway, _of(first, only, tail), start, only))


async def _follow(gateway: state.Gateway, lines: list[Line], place: str, only: str | None) -> AsyncIterator[bytes]:
    """Lines as they come, those of one tenant where one is named; it ends when the gateway is stopped."""
    yield retry_hint() + b"id: %s\n\n" % place.encode()  # who is cut off before the first line comes back to here
    pace = Pace()
    while not gateway.streams.over:
        told = [line for line in lines if only in (None, line.tenant)]
        if told:
            pace.spoke()
            yield b"".join(event("log", line.id, to_json(line.shown())) for line in told)
        if len(lines) < PAGE and (sign := await pace.wait()):
            yield sign
        try:
            lines = await _page(gateway, keys.LOGS, place)
        except BrokerDown:
            lines = []
        place = lines[-1].id if lines else place


def _of(lines: list[Line], only: str | None, count: int) -> list[Line]:
    """The last of those lines that are of the one tenant that is named, if one is."""
    return [line for line in lines if only in (None, line.tenant)][-count:] if count else []


async def _newest(gateway: state.Gateway, count: int) -> list[Line]:
    """The newest lines of all invocations, oldest first. Raises BrokerDown."""
    if not count:
        return []
    with translated():
        found: Any = await gateway.redis.xrevrange(keys.LOGS, count=count)
    return [decode(entry) for entry in reversed(found)]


async def _all(gateway: state.Gateway, name: str) -> list[Line]:
    """Every entry of a stream. Raises BrokerDown."""
    lines: list[Line] = []
    while page := await _page(gateway, name, lines[-1].id if lines else "0-0"):
        lines += page
    return lines


async def _page(gateway: state.Gateway, name: str, after: str) -> list[Line]:
    with translated():
        found: Any = await gateway.redis.xrange(name, f"({after}", "+", count=PAGE)
    return [decode(entry) for entry in found]
