"""A finished invocation as an HTTP answer: its result bare, or its failure as a problem."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Never

from starlette.responses import Response, StreamingResponse

from gateway.calls import file_answer
from gateway.web import streamed
from gateway.web.problems import problem, refuse
from runtime.errors import ObjectMissing
from runtime.invocations.invocation import Invocation

if TYPE_CHECKING:
    from gateway.state import Gateway

TIME_OVER = "the caller's time was over"
"""Why the gateway stops a call: its caller got 504."""

# Names of the exceptions by which a pool ends an attempt that took too long.
_TIME_LIMITS = frozenset({"TimeLimitExceeded", "SoftTimeLimitExceeded"})
_BAD_INPUT = frozenset({"InvalidArguments", "BadInput"})


def location(task_id: str) -> str:
    return f"/api/v1/tasks/task/{task_id}"


def headers(invocation: Invocation) -> dict[str, str]:
    found = {"X-Call-Id": invocation.id, "X-Attempts": str(invocation.attempts)}
    if (seconds := invocation.seconds) is not None:
        found["X-Duration-Seconds"] = f"{seconds:.3f}"
    return found


async def respond(gateway: Gateway, invocation: Invocation, more: Mapping[str, str] | None = None) -> Response:
    """`answer`, also for a result that is in the store: that is streamed from there. Raises StoreDown, StoreDenied."""
    if invocation.result_type is not None and invocation.state == "succeeded":
        return await _file(gateway, invocation, more or {})
    reference = invocation.result_ref
    if invocation.state != "succeeded" or reference is None or invocation.result_json is not None:
        response = answer(invocation)
        if more:
            response.headers.update(more)
        return response
    store = gateway.store
    try:
        upstream = await gateway.in_thread(store.stream, store.bucket, reference)
    except ObjectMissing:
        _gone(invocation)
    length = {name: upstream.headers[name] for name in ("Content-Length",) if name in upstream.headers}
    told = {**headers(invocation), **length, **(more or {})}
    return StreamingResponse(streamed.chunks(gateway, upstream), headers=told, media_type="application/json")


async def _file(gateway: Gateway, invocation: Invocation, more: Mapping[str, str]) -> Response:
    try:
        return await file_answer.respond(gateway, invocation, {**headers(invocation), **more})
    except ObjectMissing:
        _gone(invocation)


def _gone(invocation: Invocation) -> Never:
    detail = f"The call of {invocation.function} succeeded, but its result is not in the store any more."
    refuse(410, detail, headers=headers(invocation), call_id=invocation.id)


def answer(invocation: Invocation) -> Response:
    """What a caller gets for a terminal invocation. The bytes of the result are passed on as they are."""
    if invocation.state == "succeeded":
        body = b"null" if invocation.result_json is None else invocation.result_json
        return Response(body, headers=headers(invocation), media_type="application/json")
    error = invocation.error or {}
    kind, message = str(error.get("type", "")), str(error.get("message", ""))
    return problem(
        _status(invocation, kind),
        _sentence(invocation, kind, message),
        headers=headers(invocation),
        call_id=invocation.id,
        function=invocation.function,
        state=invocation.state,
        attempts=invocation.attempts,
        error={"type": kind, "message": message} if kind else None,
        errors=error.get("fields"),
    )


def _status(invocation: Invocation, kind: str) -> int:
    if invocation.state == "expired" or kind in _TIME_LIMITS or invocation.stop == TIME_OVER:
        return 504
    if invocation.state == "cancelled":
        return 409
    return 422 if kind in _BAD_INPUT else 500


def _sentence(invocation: Invocation, kind: str, message: str) -> str:
    if invocation.state == "cancelled":
        reason = f": {invocation.stop}" if invocation.stop else ""
        return f"The call of {invocation.function} was cancelled{reason}."
    if invocation.state == "expired":
        return f"The call of {invocation.function} was not started in time."
    if kind in _TIME_LIMITS:
        return message or f"{invocation.function} took longer than its timeout and was stopped."
    if kind in _BAD_INPUT:
        return message
    return f"{invocation.function} failed: {kind}: {message}" if message else f"{invocation.function} failed: {kind}"
