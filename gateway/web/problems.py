"""Every error as application/problem+json (RFC 9457): one sentence that says what happened and what to do."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Awaitable, Mapping
from http import HTTPStatus
from typing import Any, Never

import redis
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, ExceptionHandler, Message, Receive, Scope, Send

from runtime import errors

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 2
log = logging.getLogger("tundish.gateway")

_STATUS: dict[type[errors.TundishError], int] = {
    errors.FunctionNotFound: 404,
    errors.ScheduleNotFound: 404,
    errors.TriggerNotFound: 404,
    errors.ObjectMissing: 404,
    errors.PreconditionFailed: 412,
    errors.InvalidArguments: 422,
    errors.BadInput: 422,
    errors.KeyReused: 422,
    errors.LimitReached: 429,
    errors.Overloaded: 503,
    errors.StoreDenied: 502,
    errors.HandlerError: 503,
    errors.BrokerDown: 503,
    errors.StoreDown: 503,
    errors.IndexUnavailable: 503,
    errors.ModelWarming: 503,
}
_PASSING = (errors.BrokerDown, errors.StoreDown, errors.IndexUnavailable, errors.ModelWarming)
_BROKER_AWAY = (redis.ConnectionError, redis.TimeoutError, redis.exceptions.BusyLoadingError)


class Refused(Exception):
    """A request that gets this problem for an answer. `members` are added to the document."""

    def __init__(self, status: int, detail: str, *, headers: Mapping[str, str] | None = None, **members: Any) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers, self.members = status, detail, headers, members


def problem(status: int, detail: str, *, headers: Mapping[str, str] | None = None, **members: Any) -> Response:
    """The answer itself. Members that are None are left out."""
    document = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    document.update({name: value for name, value in members.items() if value is not None})
    return Response(to_json(document), status, headers=headers, media_type=MEDIA_TYPE)


def refuse(status: int, detail: str, *, headers: Mapping[str, str] | None = None, **members: Any) -> Never:
    raise Refused(status, detail, headers=headers, **members)


def field_errors(found: list[errors.FieldError]) -> list[dict[str, str]]:
    return [{"field": error.field, "message": error.message} for error in found]


def handlers() -> dict[Any, ExceptionHandler]:
    """What Starlette does with the errors that are expected; `Unexpected` sees to the others."""
    return {
        Refused: _refused,
        HTTPException: _http,
        errors.TundishError: _known,
        redis.RedisError: _broker,
        ClientDisconnect: _gone,
    }


def status_of(error: errors.TundishError) -> int:
    return next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), 500)


def retry_after(error: errors.TundishError) -> dict[str, str] | None:
    """When to try again, for errors that pass."""
    if isinstance(error, errors.LimitReached):
        return {"Retry-After": f"{error.wait:.0f}"}
    return {"Retry-After": str(RETRY_SECONDS)} if isinstance(error, _PASSING) else None


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)  # noqa: S101
    return problem(error.status, error.detail, headers=error.headers, **error.members)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    detail = error.detail
    if error.status_code == 404:
        detail = f"There is nothing at {request.url.path}. /docs and /openapi.json list what there is."
    elif error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        detail = f"{request.method} is not possible at {request.url.path}; use {allowed}."
    return problem(error.status_code, detail, headers=error.headers)


async def _known(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.TundishError)  # noqa: S101
    status, headers = status_of(error), retry_after(error)
    # Nothing came of a call that was refused, or whose key was used before: its id leads nowhere.
    nowhere = isinstance(error, errors.KeyReused | errors.LimitReached)
    members: dict[str, Any] = {} if nowhere else {"call_id": call_id(request.scope)}
    if isinstance(error, errors.InvalidArguments):
        members["errors"] = field_errors(error.errors)
    if status >= 500 and not isinstance(error, errors.Overloaded):  # under a flood there would be one for every request
        log.warning("%s %s: %s", request.method, request.url.path, error)
    return problem(status, str(error), headers=headers, **members)


async def _broker(request: Request, error: Exception) -> Response:
    """What the client library raises where nobody translated it."""
    if isinstance(error, _BROKER_AWAY):
        return await _known(request, errors.BrokerDown())
    if str(error).startswith("OOM"):
        return await _known(request, errors.BrokerDown("The broker is at its memory limit and takes no new work."))
    raise error


async def _gone(_: Request, __: Exception) -> Response:
    return problem(400, "The connection was closed before the whole request had come.")


def call_id(scope: Scope) -> str | None:
    """The invocation that this request made, if it got that far."""
    found = scope.get("state", {}).get("call_id")
    return str(found) if found else None


class Unexpected:
    """Outermost: an error that nobody expected becomes a 500 whose id is in the log, next to the traceback."""

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
            await self._app(scope, receive, watched)
        except Exception:
            reference = call_id(scope) or str(uuid.uuid4())
            log.exception("unexpected error %s in %s %s", reference, scope["method"], scope["path"])
            if started:  # too late for an answer; the server cuts the connection
                raise
            detail = f"Something unexpected went wrong in the gateway. Its log has the traceback under {reference}."
            await problem(500, detail, call_id=reference)(scope, receive, send)
