"""`POST /function/NAME` runs a function and waits; `POST /async-function/NAME` only accepts."""

from __future__ import annotations

from typing import Unpack

from starlette.requests import Request
from starlette.responses import Response

from gateway import state
from gateway.access import tenancy
from gateway.access.permission import refusal
from gateway.calls import arguments as call_body
from gateway.calls import idempotency, item_stream, styled
from gateway.calls.accepting import accept_call
from gateway.calls.answers import accepted
from gateway.calls.arguments import Given
from gateway.calls.batch import accept_all, check_all
from gateway.calls.large import lightened
from gateway.calls.waiting import Terms, terms, wait
from gateway.web import accepts, call_headers
from gateway.web.call_headers import Wishes
from gateway.web.problems import refuse
from gateway.web.traced import parent_of
from runtime.deployment.deployment import Deployed
from runtime.invocations.submit import Call, new_id


async def call(request: Request) -> Response:
    """Run and wait. `Prefer: respond-async` does not wait, `Prefer: wait=N` waits N seconds and then answers 202."""
    gateway = state.of(request)
    return await _answer(request, gateway, _callable(request, gateway), waits=True)


async def call_request(request: Request) -> Response:
    """Run and wait, by another method than POST: for handlers that are called with the request itself. 403, 405."""
    gateway = state.of(request)
    deployed = _callable(request, gateway)
    styled.check_method(request, deployed)
    return await _answer(request, gateway, deployed, waits=True)


async def call_async(request: Request) -> Response:
    """Accept and answer 202 at once."""
    gateway = state.of(request)
    return await accept(request, gateway, _callable(request, gateway))


async def accept(request: Request, gateway: state.Gateway, deployed: Deployed) -> Response:
    """Submit a call of `deployed` with the body as its arguments, and answer 202."""
    return await _answer(request, gateway, deployed, waits=False)


async def _answer(request: Request, gateway: state.Gateway, deployed: Deployed, *, waits: bool) -> Response:
    if deployed.error:
        headers = {"Retry-After": "10"}
        refuse(503, f"{deployed.spec.name} cannot be loaded: {deployed.error}", headers=headers)
    wishes = call_headers.read(request.headers, waits=waits, allowed=gateway.project.callbacks.allow)
    task_id = new_id()
    given: Given | list[Given]
    if styled.wanted(deployed):
        given = await styled.read(request, deployed, gateway.project.limits.body)
    else:
        given = await call_body.read(request, gateway, deployed, task_id)
    if isinstance(given, list):
        response = await _batch(request, gateway, deployed, given, wishes)
    else:
        if not given.checked:
            gateway.schemas.check(deployed.spec.name, given.arguments)
        kind = None if wishes.later else item_stream.wanted(deployed, request, wishes)
        waited = Terms() if wishes.later or kind else terms(gateway, deployed, wishes)
        (work,) = await lightened(gateway, request, [_work(request, deployed, given, wishes, task_id, **waited)])
        request.state.call_id = work.id
        if wishes.later:
            taken = await accept_call(gateway, work)
            request.state.call_id = taken.id
            response = accepted(taken, wishes)
        else:
            answer = item_stream.stream(request, gateway, deployed, work, wishes, kind) if kind else None
            response = await (answer or wait(request, gateway, deployed, work, wishes))
        if work.trace:
            response.headers["traceparent"] = work.trace
    return response


async def _batch(
    request: Request, gateway: state.Gateway, deployed: Deployed, given: list[Given], wishes: Wishes
) -> Response:
    if not wishes.later:
        refuse(400, "Nobody can wait for a batch of events: POST it to /async-function/NAME, or Prefer: respond-async.")
    if wishes.key:
        refuse(400, "An Idempotency-Key is for one call; the events of a batch have their sources and ids.")
    check_all(gateway, deployed.spec.name, given)
    works = [_work(request, deployed, one, wishes, new_id()) for one in given]
    return await accept_all(gateway, await lightened(gateway, request, works))


def _work(
    request: Request, deployed: Deployed, given: Given, wishes: Wishes, task_id: str, **waited: Unpack[Terms]
) -> Call:
    """The call that a request makes."""
    name, traces = deployed.spec.name, [str(given.event.get("traceparent", ""))] if given.event else []
    key = ("key", wishes.key) if wishes.key else given.key
    return Call(
        name,
        given.arguments,
        id=task_id,
        priority=wishes.priority,
        delay=wishes.delay,
        expires=wishes.expires,
        callback=wishes.callback,
        trace=parent_of(request.scope, wishes.trace, call_headers.trace_of(traces)),
        event=given.event,
        accept=accepts.named(request.headers, accepts.ARRAYS),
        idempotency=idempotency.of(request, name, given.same or given.arguments, *key) if key else None,
        **tenancy.whose(request),
        **waited,
    )


def _callable(request: Request, gateway: state.Gateway) -> Deployed:
    """The function that is named, if this request may call it. 403, 404."""
    deployed = gateway.deployment.find(request.path_params["name"])
    if told := refusal(request, deployed.spec):
        refuse(403, told)
    return deployed
