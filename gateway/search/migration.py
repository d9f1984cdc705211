"""`/admin/index/migrate…`: bring an index to another model or engine, see how far that is, end it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Annotated, Any

from pydantic import Field
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from gateway import state
from gateway.access.permission import barred
from gateway.calls.accepting import accept_call, find
from gateway.search.indexes import DEFAULT
from gateway.web import body
from gateway.web.fields import Given, parse
from gateway.web.problems import refuse
from runtime.config.engine import QDRANT, Engine
from runtime.config.model import Name
from runtime.errors import FieldError, InvalidArguments, TundishError
from runtime.index.migration_state import FAILED, RUNNING, MigrationState, Status
from runtime.invocations.submit import Call, new_id
from runtime.models.folder import BUILT_IN
from runtime.values.nearest import nearest

MIGRATE = "migrate_index"
LEAST_RECALL = 0.99
"""Of the ten nearest chunks, against an exact scan, before another engine answers."""


class Which(Given):
    """Which index is meant."""

    index: Name = DEFAULT


class Wanted(Which):
    """And which model of functions.yaml, or which engine, it is to get; `recall`: what it must find there."""

    model: Name | None = None
    engine: Engine | None = None
    recall: Annotated[float, Field(ge=0, le=1)] = LEAST_RECALL


async def migrate(request: Request) -> Response:
    """Begin, or go on where one was left: 202 with the call that does it. 409 while another one is under way."""
    gateway, given = state.of(request), parse(Wanted, await _body(request))
    await _known(gateway, given.index)
    if MIGRATE not in gateway.deployment.functions:
        refuse(404, f"There is no function {MIGRATE} in functions.yaml, which is what a migration calls.")
    if told := barred(request, MIGRATE, gateway.project.functions[MIGRATE].role):
        refuse(403, told)
    wanted = _wanted(gateway, given)
    found = await _status(gateway, given.index)
    if found and found.state == RUNNING:
        if found.model != wanted:
            refuse(409, f"Index {given.index} is on its way to {found.model}. Wait for it, or cancel it first.")
        return _accepted(given, found.run, _models(gateway))
    run = new_id()
    # Said before it is asked for: the call itself says how far it is, and may end before we are told that it is taken.
    await gateway.in_thread(_state(gateway, given.index).begin, run, run, wanted)
    try:
        await accept_call(gateway, Call(MIGRATE, _arguments(given), id=run))
    except TundishError as error:
        await gateway.in_thread(_fail, _state(gateway, given.index), run, str(error))
        raise
    return _accepted(given, run, _models(gateway))


async def migration(request: Request) -> Response:
    """How far the newest migration of an index is; null where there was none."""
    gateway, asked = state.of(request), parse(Which, request.query_params)
    await _known(gateway, asked.index)
    found = await _status(gateway, asked.index)
    told = {"index": asked.index, "models": _models(gateway), "migration": asdict(found) if found else None}
    return Response(to_json(told), headers={"Cache-Control": "no-store"}, media_type="application/json")


async def cancel(request: Request) -> Response:
    """End it before its next batch. What is embedded stays for the next try, until it is cleaned up."""
    gateway, given = state.of(request), parse(Which, await _body(request))
    await _known(gateway, given.index)
    found = await gateway.in_thread(_state(gateway, given.index).cancel)
    cancelled = found is not None and found.state == RUNNING
    return Response(to_json({"index": given.index, "cancelled": cancelled}), media_type="application/json")


def _wanted(gateway: state.Gateway, given: Wanted) -> str:
    """Where it is to go: a model's name, or an engine's. Raises InvalidArguments."""
    if (given.model is None) == (given.engine is None):
        raise InvalidArguments([FieldError("model", "give either model or engine")])
    if given.engine is not None:
        if given.engine == QDRANT and not gateway.project.engine_of(given.index).url:
            hint = f"functions.yaml does not say where Qdrant is: indexes: {{{given.index}: {{url: http://HOST:6333}}}}"
            raise InvalidArguments([FieldError("engine", hint)])
        if given.engine == QDRANT and gateway.project.is_hybrid(given.index):
            hint = f"index {given.index} has words to search by, and Qdrant has none: remove `hybrid: true` first"
            raise InvalidArguments([FieldError("engine", hint)])
        return given.engine
    known = _models(gateway)
    if given.model is None or given.model not in known:
        told = f"there is no model {given.model}{nearest(str(given.model), known)}"
        raise InvalidArguments([FieldError("model", told)])
    return given.model


def _arguments(given: Wanted) -> dict[str, Any]:
    if given.engine is not None:
        return {"index": given.index, "engine": given.engine, "recall": given.recall}
    return {"index": given.index, "model": given.model}


async def _status(gateway: state.Gateway, index: str) -> Status | None:
    found: Status | None = await gateway.in_thread(_state(gateway, index).read)
    if found is None or found.state != RUNNING:
        return found
    record = await find(gateway, found.task)
    if record is None or not record.terminal or record.state == "succeeded":  # then the next call goes on
        return found
    error = record.error or {}
    why = f"its call {found.task} {record.state}: {error.get('message') or record.stop or 'no reason is recorded'}"
    return replace(found, state=FAILED, message=why)


def _fail(known: MigrationState, run: str, message: str) -> None:
    known.update(run, state=FAILED, message=message)


def _state(gateway: state.Gateway, index: str) -> MigrationState:
    return MigrationState(gateway.sync_redis, index)


def _models(gateway: state.Gateway) -> list[str]:
    return [BUILT_IN, *gateway.project.models]


def _accepted(given: Wanted, run: str, models: Sequence[str]) -> Response:
    told: dict[str, Any] = {"task_id": run, "index": given.index, "models": models}
    told |= {"engine": given.engine} if given.engine else {"model": given.model}
    return Response(to_json(told), status_code=202, media_type="application/json")


async def _body(request: Request) -> dict[str, Any]:
    return await body.json_object(request, state.of(request).project.limits.body)


async def _known(gateway: state.Gateway, index: str) -> None:
    if not await gateway.indexes.find(index):
        refuse(404, f"There is no index {index}; there is {', '.join(gateway.indexes.names)}.")
