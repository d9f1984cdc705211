"""What every request comes through first and every answer last: the guard, and the clock."""

from __future__ import annotations

import time
from collections.abc import Awaitable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.web.guard import Guard
from gateway.web.measured import Requests


class Door:
    """Middleware. One for both: two layers instead of five take 11 us off the 103 of a call without sockets."""

    def __init__(self, app: ASGIApp, guard: Guard, requests: Requests) -> None:
        self._app, self._guard, self._requests = app, guard, requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        began, status = time.perf_counter(), 500

        def watched(message: Message) -> Awaitable[None]:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._guard.secure(message)
            return send(message)

        try:
            refusal = self._guard.refusal(scope["headers"])
            await (refusal or self._app)(scope, receive, watched)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            self._requests.observe(route, scope["method"], status, time.perf_counter() - began)
