"""Every error as application/problem+json (RFC 9457): one sentence that says what happened and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Never

from pydantic_core import to_json
from starlette.responses import Response
from starlette.types import Scope

from runtime import errors

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 2

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


def status_of(error: errors.TundishError) -> int:
    return next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), 500)


def retry_after(error: errors.TundishError) -> dict[str, str] | None:
    """When to try again, for errors that pass."""
    if isinstance(error, errors.LimitReached):
        return {"Retry-After": f"{error.wait:.0f}"}
    return {"Retry-After": str(RETRY_SECONDS)} if isinstance(error, _PASSING) else None


def call_id(scope: Scope) -> str | None:
    """The invocation that this request made, if it got that far."""
    found = scope.get("state", {}).get("call_id")
    return str(found) if found else None
