"""`/admin/replay`: run triggers again over objects that are there; look how far that is, cancel it."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from gateway import state
from gateway.access import tenancy
from gateway.access.permission import beyond
from gateway.web import body
from gateway.web.fields import Given, Moment, parse
from gateway.web.problems import refuse
from runtime.buckets import replays
from runtime.buckets.replays import Wish


class Asked(Given):
    """Which objects of a bucket, and by which trigger (its name, or its function's)."""

    bucket: Annotated[str, Field(min_length=1)]
    prefix: Annotated[str, Field(max_length=1024)] = ""
    since: Moment | None = None
    failed: bool = False
    trigger: str | None = None


async def start(request: Request) -> Response:
    """Ask for a replay: 202 with what `one` answers. 404 names what there is; 403 where it would call a function that
    the key may not call."""
    gateway = state.of(request)
    asked = parse(Asked, await body.json_object(request, gateway.project.limits.body))
    wish = Wish(asked.bucket, asked.prefix, asked.since, asked.failed)
    if (mine := tenancy.only(request)) is not None:
        wish = _within(gateway, wish, mine)
    if told := beyond(request, replays.called(gateway.project, wish.bucket, asked.trigger)):
        refuse(403, f"A replay of {wish.bucket} {told} `trigger` names one of its triggers.")
    made = await gateway.in_thread(replays.start, gateway.sync_redis, gateway.project, wish, asked.trigger)
    begun = await gateway.in_thread(replays.read, gateway.sync_redis, gateway.project, made)
    return _answer(begun, 202, {"Location": f"/admin/replay/{made}"})


async def listing(request: Request) -> Response:
    """Those that have not ended."""
    gateway, mine = state.of(request), tenancy.only(request)
    found = await gateway.in_thread(replays.under_way, gateway.sync_redis, gateway.project)
    return _answer({"replays": [told for told in found if mine in (None, told.get("tenant"))]})


async def one(request: Request) -> Response:
    """How far it got."""
    return await _found(request, replays.read)


async def cancel(request: Request) -> Response:
    """Hand out no more for it; what is handed out already goes on."""
    told = await _look(request, replays.read)
    if others := beyond(request, dict.fromkeys(one["function"] for one in told["triggers"])):
        refuse(403, f"The replay {told['id']} {others}")
    return await _found(request, replays.cancel)


async def _found(request: Request, ask: Any) -> Response:
    return _answer(await _look(request, ask))


async def _look(request: Request, ask: Any) -> dict[str, Any]:
    gateway, replay_id = state.of(request), request.path_params["id"]
    told: dict[str, Any] | None = await gateway.in_thread(ask, gateway.sync_redis, gateway.project, replay_id)
    if told is None or tenancy.only(request) not in (None, told.get("tenant")):
        refuse(404, f"There is no replay {replay_id}. They are kept for 7 days after their end.")
    return told


def _within(gateway: state.Gateway, wish: Wish, tenant: str) -> Wish:
    """The wish of a tenant, about objects that are all its own; 404 where others lie below the prefix, too."""
    places = [place.partition("/")[2] for place in gateway.owners.places(tenant, wish.bucket)]
    prefix = places[0] if len(places) == 1 and not wish.prefix else wish.prefix
    if not gateway.owners.whole(tenant, wish.bucket, prefix):
        named = ", ".join(gateway.owners.places(tenant)) or "none"
        refuse(404, f"{wish.bucket}/{prefix} is no place of the tenant {tenant}; its places are: {named}.")
    return replace(wish, prefix=prefix, tenant=tenant)


def _answer(told: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(to_json(told), status, {"Cache-Control": "no-store"} | (headers or {}), "application/json")
