"""`GET /api/v1/tasks/task/ID/events`: an invocation from accepted to its end, as it happens.

An event's id is a place: how far the output was read (the id of a stream's entry) and which state was told. Who comes
back with it goes on from there. Record and output are read in one transaction, so what is told is never torn.
"""

from __future__ import annotations

import contextlib
import heapq
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from gateway import state
from gateway.calls import accepting, outcome
from gateway.tasks.status import find
from gateway.tasks.story import FIELDS, Mark, Step, steps_after
from gateway.web.problems import refuse
from gateway.web.streams import EVENT_STREAM, Pace, event, retry_hint
from runtime import keys
from runtime.attempts.items import Item
from runtime.attempts.items import decode as decode_item
from runtime.attempts.lines import PROGRESS, Line
from runtime.attempts.lines import decode as decode_line
from runtime.broker.connection import translated
from runtime.errors import BrokerDown
from runtime.invocations.invocation import Invocation, decode

PAGE = 500
SMALL_RESULT = 64 * 1024
"""Bytes of a result that is told with the end; a larger one is asked for."""

_PLACE = re.compile(
    r"(\d{1,20}-\d{1,20})(?:\+(\d{1,20}-\d{1,20}))?(?:/([a-z]{1,20})\.(\d{1,20})\.([a-z0-9]{0,20}))?", re.ASCII
)
_BEGINNING = "0-0"


@dataclass(slots=True)
class Place:
    """How much somebody has heard: output and items up to an entry of each, and states up to a mark."""

    entry: str = _BEGINNING
    item: str = _BEGINNING
    mark: Mark | None = None

    def __str__(self) -> str:
        return f"{self.entry}{'' if self.item == _BEGINNING else f'+{self.item}'}/{self.mark}"


async def events(request: Request) -> Response:
    """Server-sent events until the invocation has ended; 204 for who has heard all of it."""
    gateway, record = state.of(request), await find(request)
    place = _place(request.headers.get("last-event-id", ""))
    if record.terminal and place.mark is not None and not steps_after(place.mark, record):
        return Response(status_code=204)  # which also tells a browser not to come back
    if request.method == "HEAD":
        return Response(headers={"Content-Type": EVENT_STREAM})
    return gateway.streams.open(_told(gateway, record, place))


def _place(text: str) -> Place:
    if not text:
        return Place()
    found = _PLACE.fullmatch(text)
    if found is None:
        refuse(400, f"Last-Event-ID {text[:100]!r} is not the id of an event of this stream.")
    # The id of a line alone is for who has read the output so far at `…/logs`.
    mark = Mark(found[3], int(found[4]), found[5]) if found[3] else None
    return Place(found[1], found[2] or _BEGINNING, mark)


async def _told(gateway: state.Gateway, record: Invocation, place: Place) -> AsyncIterator[bytes]:
    """The events after a place. It ends with the end of the invocation, or when the gateway is stopped."""
    yield retry_hint()
    pace, source = Pace(), record.carrier or record.id
    while not gateway.streams.over:
        found, lines, items = await _look(gateway, record.id, source, place)
        drained = len(lines) < PAGE and len(items) < PAGE
        if found is None:
            # The broker is away, or the call is still in the outbox of this gateway, or it was forgotten.
            try:
                found = await accepting.find(gateway, record.id)
            except BrokerDown:
                found = record
            if found is None:
                return
            found = found if found.waits == "broker" else None
        elif (found.carrier or found.id) != source:  # a gathered call puts out for all its members
            source, place.entry = found.carrier or found.id, _BEGINNING
            continue
        # Neither is sorted: a place is how far each of them was told.
        told = list(heapq.merge(list[Line | Item](lines), list[Line | Item](items), key=_moment))
        steps = steps_after(place.mark, found) if found else []
        if told or steps:
            result = await _result(gateway, found) if found and found.terminal and drained else b""
            pace.spoke()
            yield b"".join(_in_order(told, steps, place, result, drained=drained))
        if found and found.terminal and drained:
            return
        if drained and (sign := await pace.wait()):
            yield sign


async def _look(
    gateway: state.Gateway, task_id: str, source: str, place: Place
) -> tuple[Invocation | None, list[Line], list[Item]]:
    """The record without its large fields, output and items after a place; nothing where the broker is away."""
    try:
        with translated():
            async with gateway.redis.pipeline(transaction=True) as pipe:
                pipe.hmget(keys.invocation(task_id), *FIELDS)
                pipe.xrange(keys.log(source), f"({place.entry}", "+", PAGE)
                pipe.xrange(keys.items(task_id), f"({place.item}", "+", PAGE)
                values, entries, items = await pipe.execute()
    except BrokerDown:
        return None, [], []
    fields = {name.encode(): value for name, value in zip(FIELDS, values, strict=True) if value is not None}
    return decode(task_id, fields), list(map(decode_line, entries)), list(map(decode_item, items))


async def _result(gateway: state.Gateway, record: Invocation) -> bytes:
    """What the end tells besides: the result, in its own bytes, or where it is."""
    if record.state != "succeeded":
        return b""
    found: Any = None
    kind: Any = None
    with contextlib.suppress(BrokerDown), translated():
        found, kind = await gateway.redis.hmget(keys.invocation(record.id), "result", "result_type")
    if found is not None and kind is None and len(found) <= SMALL_RESULT:
        return b',"result":%s' % found
    return b',"result_url":%s' % to_json(f"{outcome.location(record.id)}/result")


def _moment(one: Line | Item) -> tuple[int, int]:
    return one.attempt, one.at


def _in_order(
    lines: list[Line | Item], steps: list[Step], place: Place, result: bytes, *, drained: bool
) -> Iterator[bytes]:
    """Output, items and states as they came about."""
    for line in lines:
        while steps and steps[0].before is not None and steps[0].before <= line.attempt:
            yield _state(steps.pop(0), place)
        if isinstance(line, Item):
            place.item = line.id
            told = {"at": line.at / 1000, "attempt": line.attempt, "index": line.number}
            yield event("item", str(place), b'%s,"item":%s}' % (to_json(told)[:-1], line.data))
            continue
        place.entry = line.id
        yield event(PROGRESS if line.stream == PROGRESS else "log", str(place), to_json(line.shown()))
    while drained and steps:
        yield _state(steps.pop(0), place, b"" if steps else result)


def _state(step: Step, place: Place, more: bytes = b"") -> bytes:
    place.mark = step.mark
    return event("state", str(place), to_json(step.told)[:-1] + more + b"}")
