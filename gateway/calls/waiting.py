"""A call whose caller waits: until its answer, until the caller's time is over, or until the gateway stops."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TypedDict

from starlette.requests import Request
from starlette.responses import Response

from gateway.calls import outcome
from gateway.calls.accepting import Taken, accept_call, submit
from gateway.calls.answers import accepted, not_yet
from gateway.calls.idempotency import REPLAYED
from gateway.calls.replies import Stopping
from gateway.state import Gateway
from gateway.web.call_headers import Wishes
from runtime.deployment.deployment import Deployed
from runtime.invocations.cancel import cancel_async
from runtime.invocations.invocation import TERMINAL, Invocation, read_async
from runtime.invocations.submit import Call, answer_async

QUEUE_GRACE_SECONDS = 5.0
"""Added to the function's own timeout: the time a call may stand in the queue and its answer may travel."""

LONGEST_WAIT_SECONDS = 3600.0


class Terms(TypedDict, total=False):
    """Fields of a Call."""

    reply_to: str | None
    retry: bool
    deadline: float | None


async def wait(request: Request, gateway: Gateway, deployed: Deployed, work: Call, wishes: Wishes) -> Response:
    """Submit a call that has its id, and answer what becomes of it.

    Somebody who waits is told of the first failure, and the work is stopped when their time is over. Somebody who
    takes a 202 for an answer (`Prefer: wait=N`) gets the retries, and it goes on.
    """
    task_id, longest = str(work.id), longest_wait(deployed)
    if work.reply_to is None:
        work = replace(work, **terms(gateway, deployed, wishes))
    with gateway.replies.expect(task_id) as reply:
        if wishes.wait is None:
            first = await submit(gateway, work)
            taken = Taken(first.id, first.replayed)
        else:
            longest = min(wishes.wait, longest)
            taken = await accept_call(gateway, work)
        if taken.replayed:
            request.state.call_id = taken.id
            return await replay(gateway, work, taken, wishes)
        if taken.kept:
            return accepted(taken, wishes)
        try:
            record = await gateway.replies.result(reply, task_id, longest)
        except Stopping:
            return not_yet(503, task_id, "The gateway is being stopped; the call goes on.")
    if record is not None and record.terminal:
        return await outcome.respond(gateway, record)
    if wishes.wait is not None:
        return accepted(taken, wishes)
    return await _stop(gateway, deployed, task_id, longest)


def terms(gateway: Gateway, deployed: Deployed, wishes: Wishes) -> Terms:
    """What makes a call one that somebody waits for."""
    if wishes.wait is not None:
        return {"reply_to": gateway.id, "retry": True, "deadline": None}
    return {"reply_to": gateway.id, "retry": False, "deadline": time.time() + longest_wait(deployed)}


def longest_wait(deployed: Deployed) -> float:
    """Seconds that a caller may wait for a function."""
    if deployed.spec.timeout is None:
        return LONGEST_WAIT_SECONDS
    return min(LONGEST_WAIT_SECONDS, deployed.spec.timeout + QUEUE_GRACE_SECONDS)


async def _stop(gateway: Gateway, deployed: Deployed, task_id: str, seconds: float) -> Response:
    """Nobody waits for the answer any more: 504, unless it came just now. Raises BrokerDown."""
    became = await cancel_async(gateway.redis, gateway.deployment, task_id, outcome.TIME_OVER)
    record = await read_async(gateway.redis, task_id) if became in TERMINAL else None
    if record is not None and record.stop != outcome.TIME_OVER:
        return await outcome.respond(gateway, record)
    sentence = f"{deployed.spec.name} has not answered within {seconds:g} s; the call was stopped."
    return not_yet(504, task_id, sentence)


async def replay(gateway: Gateway, work: Call, taken: Taken, wishes: Wishes) -> Response:
    """The answer that the first call with this idempotency key got; 409 while there is none."""
    digest = work.idempotency.digest if work.idempotency else ""
    kept = await answer_async(gateway.redis, digest)
    if kept is not None:
        return await outcome.respond(gateway, await _with_reason(gateway, kept), REPLAYED)
    if wishes.wait is not None:
        return accepted(taken, wishes)
    sentence = f"The first call with this Idempotency-Key, {taken.id}, has not ended yet."
    return not_yet(409, taken.id, sentence, **{"Retry-After": "1"})


async def _with_reason(gateway: Gateway, kept: Invocation) -> Invocation:
    """With the reason of a cancellation, which only its own record has: a 504 stays a 504."""
    if kept.state != "cancelled":
        return kept
    record = await read_async(gateway.redis, kept.id)
    return replace(kept, stop=record.stop if record else None)
