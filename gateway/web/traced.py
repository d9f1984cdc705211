"""A span for every request that does something. What comes of it gets it as its `traceparent`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.web.call_headers import trace_of
from runtime.telemetry import log_fields
from runtime.telemetry.tracing import Tracing

_OWN = "tundish.trace.own"
_HEADERS = (b"traceparent", b"tracestate")
_CONVERTER = re.compile(r":\w+\}")
_LOOKING = frozenset({"GET", "HEAD", "OPTIONS"})
_ASKED = ("/search", "/function/")
"""Reading that is work, too."""
_TOLD = "/events/"
"""What a store tells: there is no end of it, and the objects themselves say in which trace they were written."""


class Traced:
    """Middleware. A request that only looks has a span where it brings a trace along: dashboards ask every second.

    The request's own `traceparent` is replaced by that of its span, which is then everybody's parent.
    """

    def __init__(self, app: ASGIApp, tracing: Tracing) -> None:
        self._app, self._tracing = app, tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = scope["headers"]
        found = ([value.decode("latin-1") for key, value in headers if key == name] for name in _HEADERS)
        given = trace_of(*found)
        if given is None and not _works(scope["method"], scope["path"]):
            return await self._app(scope, receive, send)
        status = 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        told = {"http.request.method": scope["method"], "url.path": scope["path"]}
        with (
            self._tracing.span(scope["method"], kind="server", parent=given, attributes=told) as span,
            log_fields.about({"traceparent": span.traceparent}),
        ):
            if span.traceparent:
                rest = [pair for pair in headers if pair[0] != b"traceparent"]
                scope["headers"] = [*rest, (b"traceparent", span.traceparent.encode())]
            scope[_OWN] = given is None
            try:
                await self._app(scope, receive, watched)
            finally:
                route = _CONVERTER.sub("}", getattr(scope.get("route"), "path", ""))
                span.rename(f"{scope['method']} {route}".strip())
                span.set({"http.response.status_code": status, **({"http.route": route} if route else {})})
                if call_id := scope.get("state", {}).get("call_id"):
                    span.set({"tundish.call.id": str(call_id)})
                if status >= 500:
                    span.fail(f"answered {status}")
        return None


def parent_of(scope: Mapping[str, Any], given: str | None, event: str | None) -> str | None:
    """The trace that a call goes on in: its request's; where its caller gave none, the one that its event names."""
    return (event or given) if scope.get(_OWN) else (given or event)


def _works(method: str, path: str) -> bool:
    if method in _LOOKING:
        return path.startswith(_ASKED)
    return not path.startswith(_TOLD)
