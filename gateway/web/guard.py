"""Which pages may talk to a gateway: its own, not those of other people.

And how much of a request may be headers: the HTTP server sets no limit.

A page of another site can make a browser send requests to loopback, or to a gateway where somebody is signed in. Its
`Origin` gives it away, and where it lets its own name resolve to the gateway (DNS rebinding), its `Host` does. An IP
address is nobody's name to move: where every request needs a key, any of them will do.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.responses import Response
from starlette.types import Message

from gateway.web.problems import problem
from runtime.callers.access import is_address, is_loopback

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

_ASKED = frozenset({b"host", b"origin"})
_REMEMBERED = 1000


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


class Guard:
    """Refuses foreign Hosts and Origins (403) and too many headers (431); has the security headers of every answer.

    `names` are the gateway's own besides `host` and loopback, `*` is any; `addresses`: every IP address will do.
    `page` is the origin of its own pages where a proxy gives it another Host than people use.
    """

    def __init__(
        self, host: str, names: frozenset[str] = frozenset(), page: str = "", *, addresses: bool = False
    ) -> None:
        self._names, self._addresses = names | {host.lower()}, addresses
        self._page = page.lower() or None
        self._headers = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
        self._secured = frozenset(name for name, _ in self._headers)
        self._welcome = set[tuple[tuple[bytes, bytes], ...]]()

    def refusal(self, headers: Sequence[tuple[bytes, bytes]]) -> Response | None:
        """The answer to a request that is not let in; None where it is."""
        size, named = 0, list[tuple[bytes, bytes]]()
        for pair in headers:
            name, value = pair
            size += len(name) + len(value)
            if name in _ASKED:
                named.append(pair)
        if size > MOST_HEADER_BYTES:
            return problem(431, f"The headers have {size} bytes; {MOST_HEADER_BYTES} are taken.")
        if (asked := tuple(named)) not in self._welcome and (refusal := self._asked(asked)):
            return problem(403, refusal)
        return None

    def secure(self, start: Message) -> None:
        """Give the head of an answer (`http.response.start`) the security headers that it has not itself."""
        headers = start["headers"] = list(start.get("headers", ()))
        if self._secured.isdisjoint([name.lower() for name, _ in headers]):
            headers += self._headers
        else:  # it is a page that has its own
            given = {name.lower() for name, _ in headers}
            headers += [pair for pair in self._headers if pair[0] not in given]

    def _asked(self, named: tuple[tuple[bytes, bytes], ...]) -> str | None:
        """Why these Hosts and Origins are refused. Those that are welcome are the same again and again."""
        told = {kind: [value.decode("latin-1") for name, value in named if name == kind] for kind in _ASKED}
        refusal = self._refusal(told[b"host"], told[b"origin"])
        if refusal is None and len(self._welcome) < _REMEMBERED and sum(len(value) for _, value in named) < 500:
            self._welcome.add(named)
        return refusal

    def _refusal(self, hosts: list[str], origins: list[str]) -> str | None:
        if len(hosts) != 1:
            return f"A request names exactly one Host; this one names {len(hosts)}."
        name = host_name(hosts[0])
        if name is None or not self._own(name):
            return (
                f"This gateway does not answer for the host {hosts[0]!r}; call it by 127.0.0.1 or localhost, or name "
                "that host in TUNDISH_PUBLIC_URL or TUNDISH_ALLOWED_HOSTS."
            )
        for origin in origins:
            if origin not in (f"http://{hosts[0]}", f"https://{hosts[0]}", self._page):
                return f"The page at {origin!r} may not call this gateway: only its own pages may."
        return None

    def _own(self, name: str) -> bool:
        if is_loopback(name) or name in self._names or "*" in self._names:
            return True
        return self._addresses and is_address(name)
