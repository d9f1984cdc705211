"""Who sent a request: what the middleware found out, or this machine where nobody is asked."""

from __future__ import annotations

from starlette.requests import Request

from runtime.security.principal import LOCAL, Principal

SCOPE_KEY = "tundish.principal"


def of(request: Request) -> Principal:
    found: Principal = request.scope.get(SCOPE_KEY, LOCAL)
    return found
