"""`POST /function/NAME` runs a function and waits; `POST /async-function/NAME` only accepts."""

from __future__ import annotations

import re

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from gateway import body, outcome, state
from gateway.accepting import accept_call
from gateway.problems import problem, refuse
from gateway.replies import Stopping
from runtime.deployment import Deployed
from runtime.submit import Call, new_id, submit_async

QUEUE_GRACE_SECONDS = 5.0
"""Added to the function's own timeout: the time a call may stand in the queue and its answer may travel."""

LONGEST_WAIT_SECONDS = 3600.0
CLI_HEADER = "X-Tundish-Cli"
_WAIT = re.compile(r"wait\s*=\s*\"?(\d{1,9})\"?")


async def call(request: Request) -> Response:
    """Run and wait. `Prefer: respond-async` does not wait, `Prefer: wait=N` waits N seconds and then answers 202."""
    gateway = state.of(request)
    deployed = _callable(request, gateway)
    prefer = [part.strip() for part in ",".join(request.headers.getlist("prefer")).lower().split(",")]
    if "respond-async" in prefer and not any(_WAIT.fullmatch(part) for part in prefer):
        return await accept(request, gateway, deployed)
    _check_loaded(deployed)
    asked = next((float(match[1]) for part in prefer if (match := _WAIT.fullmatch(part))), None)
    arguments = await body.json_object(request, gateway.project.limits.body)
    gateway.schemas.check(deployed.spec.name, arguments)
    # Somebody who waits is told of the first failure; somebody who takes a 202 for an answer gets the retries.
    task_id = request.state.call_id = new_id()
    work = Call(deployed.spec.name, arguments, id=task_id, reply_to=gateway.id, retry=asked is not None)
    longest = LONGEST_WAIT_SECONDS
    if deployed.spec.timeout is not None:
        longest = min(longest, deployed.spec.timeout + QUEUE_GRACE_SECONDS)
    with gateway.replies.expect(task_id) as reply:
        if asked is None:
            await submit_async(gateway.redis, gateway.deployment, work)
        elif (await accept_call(gateway, work)).kept:
            return _accepted(task_id, {"Preference-Applied": "respond-async"})
        try:
            record = await gateway.replies.result(reply, task_id, longest if asked is None else min(asked, longest))
        except Stopping:
            return _not_yet(503, task_id, "The gateway is being stopped; the call goes on.")
    if record is not None and record.terminal:
        return outcome.answer(record)
    if asked is not None:
        return _accepted(task_id, {"Preference-Applied": f"wait={int(asked)}"})
    where = "is not known any more" if record is None else f"is {record.state}"
    return _not_yet(504, task_id, f"{deployed.spec.name} has not answered within {longest:g} s; the call {where}.")


async def call_async(request: Request) -> Response:
    """Accept and answer 202 at once."""
    gateway = state.of(request)
    return await accept(request, gateway, _callable(request, gateway))


async def accept(request: Request, gateway: state.Gateway, deployed: Deployed) -> Response:
    """Submit a call of `deployed` with the body as its arguments, and answer 202."""
    _check_loaded(deployed)
    arguments = await body.json_object(request, gateway.project.limits.body)
    gateway.schemas.check(deployed.spec.name, arguments)
    task_id = request.state.call_id = new_id()
    await accept_call(gateway, Call(deployed.spec.name, arguments, id=task_id))
    return _accepted(task_id, {"Preference-Applied": "respond-async"} if "prefer" in request.headers else {})


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


def _check_loaded(deployed: Deployed) -> None:
    if deployed.error:
        headers = {"Retry-After": "10"}
        refuse(503, f"{deployed.spec.name} cannot be loaded: {deployed.error}", headers=headers)


def _accepted(task_id: str, headers: dict[str, str]) -> Response:
    content = to_json({"task_id": task_id, "status": "submitted"})
    headers = {"Location": outcome.location(task_id), "X-Call-Id": task_id, **headers}
    return Response(content, 202, headers=headers, media_type="application/json")


def _not_yet(status: int, task_id: str, sentence: str) -> Response:
    place = outcome.location(task_id)
    detail = f"{sentence} Ask {place} what becomes of it."
    headers = {"Location": place, "X-Call-Id": task_id}
    return problem(status, detail, headers=headers, call_id=task_id)
