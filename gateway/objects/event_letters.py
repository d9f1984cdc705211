"""`/admin/events/dead`: notifications that nobody could use, to be looked at or thrown away."""

from __future__ import annotations

import base64
from typing import Annotated, Any

from pydantic import Field
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from gateway import state
from gateway.web.fields import Given, parse
from runtime.buckets import event_letters
from runtime.buckets.event_letters import Letter


class Query(Given):
    """A page of the letters; `cursor` is the id of the last one of the page before."""

    cursor: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,18}-[0-9]{1,19}$")] | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50


async def listing(request: Request) -> Response:
    """The newest first; `cursor` is null at the end."""
    gateway, query = state.of(request), parse(Query, request.query_params)
    letters = await event_letters.read_async(gateway.redis, query.limit, query.cursor or "")
    following = letters[-1].id if len(letters) == query.limit else None
    return _answer({"events": [_told(letter) for letter in letters], "cursor": following})


async def purge(request: Request) -> Response:
    """Throw all of them away."""
    return _answer({"purged": await event_letters.purge_async(state.of(request).redis)})


def _told(letter: Letter) -> dict[str, Any]:
    """A body that is no text comes as `body_base64`."""
    told = {"id": letter.id, "source": letter.source, "reason": letter.reason, "at": letter.at}
    try:
        return told | {"body": letter.body.decode()}
    except UnicodeDecodeError:
        return told | {"body_base64": base64.b64encode(letter.body).decode()}


def _answer(told: object) -> Response:
    return Response(to_json(told), headers={"Cache-Control": "no-store"}, media_type="application/json")
