"""`/api/v1/tasks/task/ID`, `…/result` and `status/ID`: what became of an invocation."""

from __future__ import annotations

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from gateway import state
from gateway.access import tenancy
from gateway.calls import accepting, outcome
from gateway.tasks.result import whole
from gateway.tasks.view import brief, describe, embed
from gateway.web.problems import refuse
from runtime.callbacks import state as callback_state
from runtime.invocations.invocation import Invocation
from runtime.invocations.repeat import arguments_of
from runtime.values.units import format_duration

_YES = ("1", "true")


async def status(request: Request) -> Response:
    """The status in Celery's words (`status`) and in ours (`state`), with the result or the error once there is one.

    `?traceback=1` adds the traceback, `?arguments=1` the arguments.
    """
    gateway, record = state.of(request), await find(request)
    told = describe(record, traceback=request.query_params.get("traceback") in _YES)
    if request.query_params.get("arguments") in _YES:
        told["arguments"] = await gateway.in_thread(arguments_of, record, gateway.blobs)
    if record.callback:
        told["callback"] = await callback_state.read_async(gateway.redis, record.id)
    content = embed(told, (await whole(gateway, record)).result_json)
    return Response(content, headers={"X-Call-Id": record.id}, media_type="application/json")


async def short_status(request: Request) -> Response:
    """How far it is, without result and traceback."""
    record = await find(request)
    headers = {"X-Call-Id": record.id, "Cache-Control": "no-store"}
    return Response(to_json(brief(record)), headers=headers, media_type="application/json")


async def result(request: Request) -> Response:
    """The bare result; 409 while there is none, the problem of a failure."""
    record = await find(request)
    if not record.terminal:
        refuse(
            409,
            f"The call of {record.function} is {record.state} and has no result yet.",
            headers={"Retry-After": "1", "X-Call-Id": record.id},
            call_id=record.id,
            state=record.state,
        )
    return await outcome.respond(state.of(request), record)


async def find(request: Request) -> Invocation:
    """The record that the path names; 404 where there is none (any more), or none that the caller may see."""
    gateway, task_id = state.of(request), request.path_params["id"]
    record = await accepting.find(gateway, task_id)
    if record is None or not tenancy.sees(request, record.tenant):
        kept = gateway.project.retention
        succeeded, failed = format_duration(kept.succeeded), format_duration(kept.failed)
        refuse(404, f"There is no task {task_id}. Successes are kept for {succeeded}, all others for {failed}.")
    return record
