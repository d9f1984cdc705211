"""`GET /api/v1/tasks`: the recorded invocations, newest first, page by page."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlencode

from pydantic import Field
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from gateway import state
from gateway.access import tenancy
from gateway.tasks.view import short
from gateway.web.fields import Given, Moment, parse
from gateway.web.problems import refuse
from runtime.invocations import listing as invocation_list
from runtime.invocations.index import Wanted

State = Literal[
    "accepted",
    "queued",
    "running",
    "waiting",
    "retrying",
    "succeeded",
    "failed",
    "dead",
    "cancelled",
    "expired",
]


class Query(Given):
    """Filters and place of a list."""

    function: str | None = None
    state: State | None = None
    root: str | None = None
    since: Moment | None = None
    until: Moment | None = None
    error: str | None = None
    text: str | None = None
    cursor: str | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50

    def wanted(self, tenant: str | None) -> Wanted:
        """`tenant`: the only one whose invocations are listed."""
        return Wanted(self.function, self.state, self.root, self.since, self.until, self.error, self.text, tenant)


async def listing(request: Request) -> Response:
    """One page. `cursor` is null at the end, and `Link: rel="next"` says the same."""
    return await answer(request, parse(Query, request.query_params))


async def answer(request: Request, query: Query) -> Response:
    gateway, wanted = state.of(request), query.wanted(tenancy.only(request))

    def read() -> invocation_list.Page:
        return invocation_list.page(gateway.sync_redis, wanted, cursor=query.cursor, limit=query.limit)

    try:
        found = await gateway.in_thread(read)
    except invocation_list.BadCursor as error:
        refuse(400, str(error))
    told = {"tasks": [short(record) for record in found.invocations], "cursor": found.cursor}
    headers = {"Cache-Control": "no-store"}
    if found.cursor:
        following = urlencode({**request.query_params, "cursor": found.cursor})
        headers["Link"] = f'<{request.url.path}?{following}>; rel="next"'
    return Response(to_json(told), headers=headers, media_type="application/json")
