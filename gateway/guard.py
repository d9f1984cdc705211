"""Who may talk to a gateway without authentication: this machine's programs, not other people's web pages.

And how much of it may be headers: the HTTP server sets no limit.

A page of another site can make a browser send requests to loopback. Its `Origin` gives it away, and where it
lets its own name resolve to 127.0.0.1 (DNS rebinding), its `Host` does.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.problems import problem

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


MOST_HEADER_BYTES = 64 * 2**10


def host_name(netloc: str) -> str | None:
    """The name in `name:port`, `[::1]:port` or `name`, in lower case without brackets; None for nonsense."""
    try:
        parts = urlsplit(f"//{netloc}")
        _ = parts.port
    except ValueError:
        return None
    if parts.username is not None or parts.path or parts.query or parts.fragment:
        return None
    return parts.hostname


def is_loopback(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


class Guard:
    """Refuses foreign Hosts and Origins (403) and too many headers (431); puts the security headers on every answer."""

    def __init__(self, app: ASGIApp, host: str) -> None:
        self._app, self._host = app, host.lower()
        self._headers = list(HEADERS.items())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)

        async def secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers:
                    headers.setdefault(name, value)
            await send(message)

        size = sum(len(name) + len(value) for name, value in scope["headers"])
        if size > MOST_HEADER_BYTES:
            detail = f"The headers have {size} bytes; {MOST_HEADER_BYTES} are taken."
            return await problem(431, detail)(scope, receive, secured)
        headers = Headers(scope=scope)
        refusal = self._refusal(headers.getlist("host"), headers.getlist("origin"))
        if refusal:
            return await problem(403, refusal)(scope, receive, secured)
        return await self._app(scope, receive, secured)

    def _refusal(self, hosts: list[str], origins: list[str]) -> str | None:
        if len(hosts) != 1:
            return f"A request names exactly one Host; this one names {len(hosts)}."
        name = host_name(hosts[0])
        if name is None or not (is_loopback(name) or name == self._host):
            return f"This gateway does not answer for the host {hosts[0]!r}; call it by 127.0.0.1 or localhost."
        for origin in origins:
            if origin not in (f"http://{hosts[0]}", f"https://{hosts[0]}"):
                return f"The page at {origin!r} may not call this gateway: only its own pages may."
        return None
