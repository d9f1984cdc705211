"""Cancel, repeat, and empty a queue: `…/revoke`, `DELETE /async-function/ID`, `…/retry`, `queue/NAME/purge`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from gateway import state
from gateway.access import tenancy
from gateway.access.permission import barred_from, beyond, refusal
from gateway.calls.accepting import accept_call
from gateway.calls.accepting import find as find_kept
from gateway.tasks.status import find
from gateway.tasks.submit import accepted
from gateway.web import body
from gateway.web.fields import Given, parse
from gateway.web.problems import refuse
from runtime.invocations import queue_purge
from runtime.invocations.cancel import cancel_async
from runtime.invocations.repeat import repeated
from runtime.invocations.submit import new_id
from runtime.values.nearest import nearest


class Reason(Given):
    reason: Annotated[str, Field(max_length=1000)] = ""


class Purge(Given):
    limit: Annotated[int, Field(ge=1, le=10_000)] = 10_000


async def revoke(request: Request) -> Response:
    """Cancel what waits, stop what runs. 409 for what has ended, 404 for what is not known."""
    gateway = state.of(request)
    given = parse(Reason, await body.json_object(request, gateway.project.limits.body))
    return await _cancel(request, request.path_params["id"], given.reason)


async def remove(request: Request) -> Response:
    """`DELETE /async-function/ID` does the same."""
    return await _cancel(request, request.path_params["name"], "")


async def retry(request: Request) -> Response:
    """A new invocation with the same arguments that names its origin; 409 while the first has not ended."""
    gateway = state.of(request)
    record = await find(request)
    if not record.terminal:
        detail = f"The call of {record.function} is {record.state}; it can be repeated when it has ended."
        refuse(409, detail, call_id=record.id, state=record.state)
    if told := refusal(request, gateway.deployment.find(record.function).spec):
        refuse(403, told)
    call = await gateway.in_thread(repeated, gateway.sync_redis, gateway.blobs, record, new_id())
    request.state.call_id = call.id
    taken = await accept_call(gateway, call)
    return accepted(taken, origin_id=record.id)


async def purge(request: Request) -> Response:
    """Cancel what waits in a queue, and take its messages out. `more` says that the limit was reached.

    403 where a function of this queue is not the key's to call.
    """
    gateway, name = state.of(request), request.path_params["name"]
    if name not in gateway.project.queues:
        refuse(404, f"There is no queue {name}{nearest(name, gateway.project.queues)}")
    served = [function.name for function in gateway.project.functions.values() if function.queue == name]
    if theirs := beyond(request, served, "would cancel calls of"):
        refuse(403, f"Purging the queue {name} {theirs}")
    given = parse(Purge, await body.json_object(request, gateway.project.limits.body))
    done = await gateway.in_thread(queue_purge.purge, gateway.sync_redis, gateway.deployment, name, given.limit)
    told = {"queue": name, "cancelled": done.cancelled, "messages": done.messages, "more": done.more}
    return Response(to_json(told), media_type="application/json")


async def _cancel(request: Request, task_id: str, reason: str) -> Response:
    gateway = state.of(request)
    if gateway.auth.required:
        await _check(request, gateway, task_id)
    became = await cancel_async(gateway.redis, gateway.deployment, task_id, reason)
    if became == "missing":
        if await find_kept(gateway, task_id) is not None:
            refuse(503, f"The task {task_id} waits in the outbox; try again in a moment.", headers={"Retry-After": "2"})
        refuse(404, f"There is no task {task_id}.", call_id=task_id)
    if became not in ("cancelled", "stopping"):
        refuse(409, f"The task {task_id} has {became} already.", call_id=task_id, state=became)
    status = "REVOKED" if became == "cancelled" else "STARTED"
    told = {"task_id": task_id, "status": status, "state": became}
    return Response(to_json(told), headers={"X-Call-Id": task_id}, media_type="application/json")


async def _check(request: Request, gateway: state.Gateway, task_id: str) -> None:
    """404 for another tenant's; 403 where whoever asks may not call the function of that call: then it may not end
    its calls, either."""
    record = await find_kept(gateway, task_id)
    if record and not tenancy.sees(request, record.tenant):
        refuse(404, f"There is no task {task_id}.", call_id=task_id)
    if record and (told := barred_from(request)(record)):
        refuse(403, told)
