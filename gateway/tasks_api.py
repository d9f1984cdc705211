"""`/api/v1/tasks/task/ID` and `…/result`: what became of an invocation."""

from __future__ import annotations

from typing import Any

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from gateway import outcome, state
from gateway.problems import refuse
from runtime.invocations import Invocation, read_async


async def status(request: Request) -> Response:
    """The status in Celery's words (`status`) and in ours (`state`), with the result or the error once there is one."""
    record = await _read(request)
    wants_traceback = request.query_params.get("traceback") in ("1", "true")
    content = _embed(describe(record, traceback=wants_traceback), record.result_json)
    return Response(content, headers={"X-Call-Id": record.id}, media_type="application/json")


async def result(request: Request) -> Response:
    """The bare result; 409 while there is none, the problem of a failure."""
    record = await _read(request)
    if not record.terminal:
        refuse(
            409,
            f"The call of {record.function} is {record.state} and has no result yet.",
            headers={"Retry-After": "1", "X-Call-Id": record.id},
            call_id=record.id,
            state=record.state,
        )
    return outcome.answer(record)


def describe(record: Invocation, *, traceback: bool = False) -> dict[str, Any]:
    """Everything but the result. Times are seconds since the epoch."""
    error = record.error
    told: dict[str, Any] = {
        "task_id": record.id,
        "status": record.celery_status,
        "ready": record.terminal,
        "successful": record.state == "succeeded",
        "error": f"{error.get('type')}: {error.get('message')}" if error else None,
        "error_type": error.get("type") if error else None,
        "function": record.function,
        "state": record.state,
        "queue": record.queue,
        "priority": record.priority,
        "tenant": record.tenant,
        "trigger": record.trigger,
        "attempts": record.attempts,
        "created": record.created,
        "started": record.started,
        "ended": record.ended,
        "duration_seconds": record.seconds,
        "worker": record.worker,
        "root_id": record.root,
        "parent_id": record.parent,
    }
    if traceback and error:
        told["traceback"] = error.get("traceback")
    return told


def _embed(told: dict[str, Any], result_json: bytes | None) -> bytes:
    """The description with the result's own bytes in it: read and written again, numbers could change."""
    return b'%s,"result":%s}' % (to_json(told)[:-1], result_json or b"null")


async def _read(request: Request) -> Invocation:
    task_id = request.path_params["id"]
    record = await read_async(state.of(request).redis, task_id)
    if record is None:
        refuse(
            404,
            f"There is no task {task_id}. Successes are kept for an hour, failures for seven days.",
        )
    return record
