"""What an endpoint raises, as the answer to its request; the only place that catches everything."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Awaitable
from typing import Any

import redis
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.web.problems import Refused, call_id, field_errors, problem, retry_after, status_of
from runtime import errors

log = logging.getLogger("tundish.gateway")


class Errors:
    """The innermost middleware. It stands for the two that Starlette has of its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        started = False

        def watched(message: Message) -> Awaitable[None]:
            nonlocal started
            started = True
            return send(message)

        try:
            return await self._app(scope, receive, watched)
        except Exception as error:
            if started:  # too late for an answer; the server cuts the connection
                _unexpected(scope)
                raise
            response = _answer(scope, error)
        return await response(scope, receive, send)


def _answer(scope: Scope, error: Exception) -> Response:
    try:
        return _expected(Request(scope), error) or _unexpected(scope)
    except Exception:  # noqa: BLE001 (what is to be said of the first cannot be written; the log gets both)
        return _unexpected(scope)


def _expected(request: Request, error: Exception) -> Response | None:
    """The answer to an error that is no fault of the gateway's; None where nobody expected it."""
    match error:
        case Refused():
            return problem(error.status, error.detail, headers=error.headers, **error.members)
        case HTTPException():
            return _of_starlette(request, error)
        case errors.TundishError():
            return _known(request, error)
        # What the client library raises where nobody translated it:
        case redis.ConnectionError() | redis.TimeoutError() | redis.exceptions.BusyLoadingError():
            return _known(request, errors.BrokerDown())
        case redis.RedisError() if str(error).startswith("OOM"):
            return _known(request, errors.BrokerDown("The broker is at its memory limit and takes no new work."))
        case ClientDisconnect():
            return problem(400, "The connection was closed before the whole request had come.")
    return None


def _of_starlette(request: Request, error: HTTPException) -> Response:
    detail = error.detail
    if error.status_code == 404:
        detail = f"There is nothing at {request.url.path}. /docs and /openapi.json list what there is."
    elif error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        detail = f"{request.method} is not possible at {request.url.path}; use {allowed}."
    return problem(error.status_code, detail, headers=error.headers)


def _known(request: Request, error: errors.TundishError) -> Response:
    status, headers = status_of(error), retry_after(error)
    # Nothing came of a call that was refused, or whose key was used before: its id leads nowhere.
    nowhere = isinstance(error, errors.KeyReused | errors.LimitReached)
    members: dict[str, Any] = {} if nowhere else {"call_id": call_id(request.scope)}
    if isinstance(error, errors.InvalidArguments):
        members["errors"] = field_errors(error.errors)
    if status >= 500 and not isinstance(error, errors.Overloaded):  # under a flood there would be one for every request
        log.warning("%s %s: %s", request.method, request.url.path, error)
    return problem(status, str(error), headers=headers, **members)


def _unexpected(scope: Scope) -> Response:
    """The 500 for the error that is being handled, whose traceback is in the log under the same id."""
    reference = call_id(scope) or str(uuid.uuid4())
    log.exception("unexpected error %s in %s %s", reference, scope["method"], scope["path"])
    detail = f"Something unexpected went wrong in the gateway. Its log has the traceback under {reference}."
    return problem(500, detail, call_id=reference)
