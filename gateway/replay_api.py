"""`/admin/replay`: run triggers again over objects that are there; look how far that is, cancel it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from gateway import body, state
from gateway.fields import Given, Moment, parse
from gateway.problems import refuse
from runtime import replays
from runtime.replays import Wish


class Asked(Given):
    """Which objects of a bucket, and by which trigger (its name, or its function's)."""

    bucket: Annotated[str, Field(min_length=1)]
    prefix: Annotated[str, Field(max_length=1024)] = ""
    since: Moment | None = None
    failed: bool = False
    trigger: str | None = None


async def start(request: Request) -> Response:
    """Ask for a replay: 202 with what `one` answers. 404 names what there is."""
    gateway = state.of(request)
    asked = parse(Asked, await body.json_object(request, gateway.project.limits.body))
    wish = Wish(asked.bucket, asked.prefix, asked.since, asked.failed)
    made = await gateway.in_thread(replays.start, gateway.sync_redis, gateway.project, wish, asked.trigger)
    told = await gateway.in_thread(replays.read, gateway.sync_redis, gateway.project, made)
    return _answer(told, 202, {"Location": f"/admin/replay/{made}"})


async def listing(request: Request) -> Response:
    """Those that have not ended."""
    gateway = state.of(request)
    return _answer({"replays": await gateway.in_thread(replays.under_way, gateway.sync_redis, gateway.project)})


async def one(request: Request) -> Response:
    """How far it got."""
    return await _found(request, replays.read)


async def cancel(request: Request) -> Response:
    """Hand out no more for it; what is handed out already goes on."""
    return await _found(request, replays.cancel)


async def _found(request: Request, ask: Any) -> Response:
    gateway, replay_id = state.of(request), request.path_params["id"]
    told = await gateway.in_thread(ask, gateway.sync_redis, gateway.project, replay_id)
    if told is None:
        refuse(404, f"There is no replay {replay_id}. They are kept for 7 days after their end.")
    return _answer(told)


def _answer(told: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(to_json(told), status, {"Cache-Control": "no-store"} | (headers or {}), "application/json")
