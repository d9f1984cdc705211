"""The gateway's access log: a line for every request. Neither queries nor headers are in it."""

from __future__ import annotations

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.web.call_headers import trace_of
from gateway.web.principal import SCOPE_KEY
from runtime.security.principal import Principal
from runtime.telemetry import log_fields

log = logging.getLogger("tundish.access")


class RequestLog:
    """Middleware, the outermost: it hears how every request ended, those that were refused, too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        began, status, size = time.perf_counter(), 0, 0

        async def watched(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                size += len(message.get("body", b""))
            await send(message)

        with log_fields.about({"traceparent": _trace(scope)}):
            try:
                await self._app(scope, receive, watched)
            finally:
                _tell(scope, status, size, time.perf_counter() - began)
        return None


def _trace(scope: Scope) -> str | None:
    return trace_of([value.decode("latin-1") for name, value in scope["headers"] if name == b"traceparent"])


def _tell(scope: Scope, status: int, size: int, seconds: float) -> None:
    """One line; `status` 0: the connection ended before there was an answer."""
    principal: Principal | None = scope.get(SCOPE_KEY)
    # As it was sent, percent-encoded: no character of it can begin a line of its own.
    path = (scope.get("raw_path") or scope["path"].encode("unicode_escape")).partition(b"?")[0].decode("latin-1")
    client = scope.get("client")
    told = {
        "method": scope["method"],
        "path": path,
        "route": getattr(scope.get("route"), "path", ""),
        "status": status,
        "seconds": round(seconds, 6),
        "bytes": size,
        "client": client[0] if client else "",
    }
    fields = {"task_id": str(scope.get("state", {}).get("call_id") or ""), "traceparent": _trace(scope)}
    if principal:  # who was let in; without authentication nobody was asked
        told["caller"], fields["tenant"] = principal.name, principal.tenant
    with log_fields.about(fields):
        log.info("%s %s %d %.1f ms", scope["method"], path, status, seconds * 1000, extra=told)
