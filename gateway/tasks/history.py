"""`GET /api/v1/tasks/history`: rates and times of the last hour, as lists that a program can draw."""

from __future__ import annotations

import time
from typing import Annotated

from pydantic import Field
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from gateway import state
from gateway.web.fields import Given, parse
from runtime.metrics import history
from runtime.metrics.history import EVERY_SECONDS


class Query(Given):
    """How far back."""

    minutes: Annotated[int, Field(ge=1, le=60)] = 30


async def series(request: Request) -> Response:
    """By function: calls that ended and the seconds they ran and waited; by queue: its depth. A number for every ten
    seconds, null where nothing was measured."""
    gateway, query = state.of(request), parse(Query, request.query_params)
    count = int(query.minutes * 60 / EVERY_SECONDS)
    since = (time.time() // EVERY_SECONDS - count) * EVERY_SECONDS
    lines = await history.read_async(gateway.redis, since)
    told = history.series(lines, since, count)
    return Response(to_json(told), headers={"Cache-Control": "no-store"}, media_type="application/json")
