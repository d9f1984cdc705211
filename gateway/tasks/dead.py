"""`/api/v1/tasks/dead`: dead letters, to be looked at, run again or deleted."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from gateway import state
from gateway.access import tenancy
from gateway.access.permission import barred_from
from gateway.tasks import listing as tasks_list
from gateway.tasks.status import find
from gateway.tasks.view import describe
from gateway.web import body
from gateway.web.fields import Given, Moment, parse
from gateway.web.problems import refuse
from runtime.buckets import dead
from runtime.errors import FieldError, InvalidArguments
from runtime.invocations import repeat
from runtime.invocations.index import Wanted

State = Literal["dead", "failed", "expired"]


class Query(Given):
    """Which letters are listed. `error` is part of the error's type or message."""

    function: str | None = None
    error: str | None = None
    since: Moment | None = None
    until: Moment | None = None
    state: State = "dead"
    cursor: str | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50


class Selection(Given):
    """Which letters are meant: those of `ids`, or all that fit the filters, newest first, at most `limit`."""

    ids: Annotated[list[str], Field(min_length=1, max_length=1000)] | None = None
    function: str | None = None
    error: str | None = None
    since: Moment | None = None
    until: Moment | None = None
    state: State = "dead"
    limit: Annotated[int, Field(ge=1, le=1000)] = 1000

    def wanted(self, tenant: str | None) -> Wanted:
        """`tenant`: the only one whose letters are meant."""
        return Wanted(self.function, self.state, since=self.since, until=self.until, error=self.error, tenant=tenant)


async def listing(request: Request) -> Response:
    """Letters, the newest first, in pages like those of `GET /api/v1/tasks`."""
    query = parse(Query, request.query_params)
    return await tasks_list.answer(request, tasks_list.Query(**query.model_dump()))


async def show(request: Request) -> Response:
    """One letter whole: its arguments, the error with its traceback, attempts and times."""
    gateway, record = state.of(request), await find(request)
    if record.state not in dead.STATES:
        refuse(404, f"The task {record.id} is no dead letter: it is {record.state}.", call_id=record.id)
    told = describe(record, traceback=True)
    told["arguments"] = await gateway.in_thread(repeat.arguments_of, record, gateway.blobs)
    content = to_json(told, bytes_mode="base64")  # what was uploaded is bytes
    return Response(content, headers={"X-Call-Id": record.id}, media_type="application/json")


async def redrive(request: Request) -> Response:
    """Run letters again under their own ids, with all attempts before them. Twice at once runs each once."""
    gateway, selection = state.of(request), await _selection(request)

    def work(ids: list[str]) -> dead.Done:
        return dead.redrive(gateway.sync_redis, gateway.deployment, gateway.blobs, ids, barred_from(request))

    return await gateway.in_thread(_do, gateway, selection, tenancy.only(request), "redriven", work)


async def purge(request: Request) -> Response:
    """Delete letters for good."""
    gateway, selection = state.of(request), await _selection(request)

    def work(ids: list[str]) -> dead.Done:
        return dead.purge(gateway.sync_redis, ids, barred_from(request))

    return await gateway.in_thread(_do, gateway, selection, tenancy.only(request), "purged", work)


async def _selection(request: Request) -> Selection:
    given = await body.json_object(request, state.of(request).project.limits.body)
    selection = parse(Selection, given)
    if selection.ids is not None and set(given) - {"ids"}:
        raise InvalidArguments([FieldError("ids", "name letters by ids or by filters, not by both")])
    return selection


def _do(
    gateway: state.Gateway, selection: Selection, tenant: str | None, name: str, work: Callable[[list[str]], dead.Done]
) -> Response:
    """Choose the letters and do `work` with them. `until` makes the next request go on with the same ones."""
    more, until = False, selection.until if selection.until is not None else time.time()
    if selection.ids is not None:
        ids = list(dict.fromkeys(selection.ids))
    else:
        ids, more = dead.select(gateway.sync_redis, replace(selection.wanted(tenant), until=until), selection.limit)
    done = work(ids)
    told = {name: done.ids, "count": len(done.ids), "skipped": done.skipped, "more": more, "until": until}
    return Response(to_json(told), media_type="application/json")
