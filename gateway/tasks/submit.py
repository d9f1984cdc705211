"""`POST /api/v1/tasks/submit` and `…/batch`: calls by the name of their function, with their options in the body."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from gateway import state
from gateway.access import tenancy
from gateway.access.permission import refusal as refusal_of
from gateway.calls import idempotency, outcome
from gateway.calls.accepting import Taken, accept_call, accept_in_order
from gateway.calls.large import lightened
from gateway.web import body
from gateway.web.call_headers import LONGEST_SECONDS, trace_of
from gateway.web.fields import Given, Priority, parse
from gateway.web.problems import refuse, retry_after, status_of
from runtime.deployment.deployment import Deployed
from runtime.errors import BrokerDown, FieldError, FunctionNotFound, InvalidArguments, KeyReused, LimitReached
from runtime.invocations.submit import Call, new_id
from runtime.security import callback_address
from runtime.values.units import Duration

MOST_TASKS = 1000
_MOST_ERRORS = 100


class Task(Given):
    """One call: `task_type` is the function, `task_data` its arguments; the others are the headers of other calls."""

    task_type: str
    task_data: dict[str, Any] = Field(default_factory=dict)
    priority: Priority | None = None
    delay: Annotated[Duration, Field(le=LONGEST_SECONDS)] = 0.0
    expires: Annotated[Duration, Field(gt=0, le=LONGEST_SECONDS)] | None = None
    callback_url: str | None = None
    idempotency_key: Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,255}$")] | None = None

    def call(self, request: Request, *, root: str | None = None) -> Call:
        key = self.idempotency_key
        return Call(
            self.task_type,
            self.task_data,
            id=new_id(),
            root=root,
            priority=self.priority,
            delay=self.delay,
            expires=self.expires,
            callback=self.callback_url,
            trace=trace_of(request.headers.getlist("traceparent"), request.headers.getlist("tracestate")),
            idempotency=idempotency.of(request, self.task_type, self.task_data, "key", key) if key else None,
            **tenancy.whose(request),
        )


class Batch(Given):
    """Several calls that are accepted together, or not at all where one of them is wrong."""

    tasks: Annotated[list[Any], Field(min_length=1, max_length=MOST_TASKS)]


async def submit(request: Request) -> Response:
    """Accept one call: 202 with its id. 400 for a function that is not there, 422 for anything else that is wrong."""
    gateway = state.of(request)
    task = parse(Task, await body.json_object(request, gateway.project.limits.body))
    try:
        deployed = gateway.deployment.find(task.task_type)
    except FunctionNotFound as error:
        refuse(400, str(error))
    if refusal := refusal_of(request, deployed.spec):
        refuse(403, refusal)
    if deployed.error:
        refuse(503, _broken(deployed), headers={"Retry-After": "10"})
    _check(gateway, task, "")
    (call,) = await lightened(gateway, request, [task.call(request)])
    request.state.call_id = call.id
    taken = await accept_call(gateway, call)
    request.state.call_id = taken.id
    return accepted(taken)


async def batch(request: Request) -> Response:
    """Accept many calls under one root id, so that they are one query: `GET /api/v1/tasks?root=ROOT`."""
    gateway = state.of(request)
    given = parse(Batch, await body.json_object(request, gateway.project.limits.body))
    tasks, errors = [], list[FieldError]()
    for position, item in enumerate(given.tasks):
        try:
            tasks.append(_item(request, gateway, item, f"tasks[{position}]"))
        except InvalidArguments as error:
            errors += error.errors
    if errors:
        raise InvalidArguments(errors[:_MOST_ERRORS])
    root, ids = new_id(), list[str]()
    calls = await lightened(gateway, request, [task.call(request, root=root) for task in tasks])
    try:
        await accept_in_order(gateway, calls, ids)
    except KeyReused as error:
        detail = f"tasks[{len(ids)}].idempotency_key: {error} The {len(ids)} tasks before it were submitted."
        refuse(422, detail, root_id=root, task_ids=ids)
    except (BrokerDown, LimitReached) as error:
        detail = f"Only {len(ids)} of {len(tasks)} tasks were submitted; send the others again. {error}"
        refuse(status_of(error), detail, headers=retry_after(error), root_id=root, task_ids=ids)
    told = {"root_id": root, "tasks": [{"task_id": task_id, "status": "submitted"} for task_id in ids]}
    headers = {"Location": f"/api/v1/tasks?root={root}"}
    return Response(to_json(told), 202, headers=headers, media_type="application/json")


def accepted(taken: Taken, **more: Any) -> Response:
    """202 with the id of the call, or of the first one with the same idempotency key."""
    content = to_json({"task_id": taken.id, "status": "submitted", **more})
    headers = {"Location": outcome.location(taken.id), "X-Call-Id": taken.id}
    headers |= idempotency.REPLAYED if taken.replayed else {}
    return Response(content, 202, headers=headers, media_type="application/json")


def _item(request: Request, gateway: state.Gateway, item: Any, at: str) -> Task:
    """One task of a batch. Raises InvalidArguments with all that is wrong with it."""
    if not isinstance(item, dict):
        raise InvalidArguments([FieldError(at, "is not an object with task_type and task_data")])
    task = parse(Task, item, at)
    try:
        deployed = gateway.deployment.find(task.task_type)
    except FunctionNotFound as error:
        raise InvalidArguments([FieldError(f"{at}.task_type", str(error))]) from error
    refusal = refusal_of(request, deployed.spec) or (_broken(deployed) if deployed.error else None)
    if refusal:
        raise InvalidArguments([FieldError(f"{at}.task_type", refusal)])
    _check(gateway, task, f"{at}.")
    return task


def _check(gateway: state.Gateway, task: Task, at: str) -> None:
    """The arguments against the function's schema, and the callback's address. Raises InvalidArguments."""
    if task.callback_url is not None:
        try:
            callback_address.parse(task.callback_url, gateway.project.callbacks.allow)
        except ValueError as error:
            raise InvalidArguments([FieldError(f"{at}callback_url", str(error))]) from error
    try:
        gateway.schemas.check(task.task_type, task.task_data)
    except InvalidArguments as error:
        raise InvalidArguments(list(_placed(error.errors, f"{at}task_data"))) from error


def _placed(errors: list[FieldError], at: str) -> Iterator[FieldError]:
    for error in errors:
        yield FieldError(at if error.field == "arguments" else f"{at}.{error.field}", error.message)


def _broken(deployed: Deployed) -> str:
    return f"{deployed.spec.name} cannot be loaded: {deployed.error}"
