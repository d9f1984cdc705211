"""`POST /function/NAME` runs a function and waits; `POST /async-function/NAME` only accepts."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from gateway import call_body, call_headers, idempotency, state
from gateway.accepting import accept_call
from gateway.call_answers import accepted
from gateway.call_batch import accept_all, check_all
from gateway.call_body import Given
from gateway.call_headers import Wishes
from gateway.large import lightened
from gateway.problems import refuse
from gateway.waiting import wait
from runtime.deployment import Deployed
from runtime.submit import Call, new_id

CLI_HEADER = "X-Tundish-Cli"


async def call(request: Request) -> Response:
    """Run and wait. `Prefer: respond-async` does not wait, `Prefer: wait=N` waits N seconds and then answers 202."""
    gateway = state.of(request)
    return await _answer(request, gateway, _callable(request, gateway), waits=True)


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
    given = await call_body.read(request, gateway.project.limits.body)
    if isinstance(given, list):
        response = await _batch(request, gateway, deployed, given, wishes)
    else:
        gateway.schemas.check(deployed.spec.name, given.arguments)
        (work,) = await lightened(gateway, request, [_work(request, deployed, given, wishes)])
        request.state.call_id = work.id
        if wishes.later:
            taken = await accept_call(gateway, work)
            request.state.call_id = taken.id
            response = accepted(taken, wishes)
        else:
            response = await wait(request, gateway, deployed, work, wishes)
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
    works = [_work(request, deployed, one, wishes) for one in given]
    return await accept_all(gateway, await lightened(gateway, request, works))


def _work(request: Request, deployed: Deployed, given: Given, wishes: Wishes) -> Call:
    """The call that a request makes, with its id."""
    name, event = deployed.spec.name, given.event or {}
    key = ("key", wishes.key) if wishes.key else given.key
    return Call(
        name,
        given.arguments,
        id=new_id(),
        priority=wishes.priority,
        delay=wishes.delay,
        expires=wishes.expires,
        callback=wishes.callback,
        trace=wishes.trace or call_headers.trace_of([str(event.get("traceparent", ""))]),
        event=given.event,
        idempotency=idempotency.of(request, name, given.arguments, *key) if key else None,
    )


def _callable(request: Request, gateway: state.Gateway) -> Deployed:
    """The function that is named, if it may be called like this.

    There is no authentication yet and whoever reaches loopback is an administrator. So the header of the command
    line is no protection; it keeps functions without an `http:` trigger from being called by mistake.
    """
    deployed = gateway.deployment.find(request.path_params["name"])
    name = deployed.spec.name
    if not deployed.spec.http and request.headers.get(CLI_HEADER) != "1":
        refuse(
            403,
            f"{name} has no http trigger. Add `http: {{}}` to its triggers in functions.yaml, "
            f"or call it as an administrator: tundish invoke {name} (or send {CLI_HEADER}: 1).",
        )
    return deployed
