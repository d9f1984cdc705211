"""One HTTP connection of the gateway, which costs little however slowly its client sends or reads.

uvicorn bounds what it holds of a body and of an answer, but neither the time nor the size of what comes before a body,
and it waits for ever for a client that has begun to send or does not read on. Here a request's line and headers must
come within 30 s and 64 KiB, a body at 500 bytes a second at least (who is slower for 30 s in a row is cut off), and an
answer must be taken up within 60 s. A watch looks at all connections every few seconds: a request costs no timer.
"""

from __future__ import annotations

import asyncio
import json
import resource
from typing import Any

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.web.joined import Joined

HEAD_BYTES = 64 * 2**10
HEAD_SECONDS = 30.0
SLOW_BYTES = 500
"""A second, of a body that is awaited."""
SLOW_SECONDS = 30.0
UNREAD_SECONDS = 60.0
LOOK_SECONDS = 2.0

MOST_CONNECTIONS = 10_000
SPARE_FILES = 300
"""Open files that the gateway keeps for its other work: the broker, the store, the indexes, its modules."""


class Connection(HttpToolsProtocol):
    """uvicorn's connection, with what the watch has to know of it."""

    most = MOST_CONNECTIONS
    head_since: float | None = None
    """When the request began whose headers are not complete; None between its headers and the next request."""
    received = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.joined = Joined(self.loop, transport)
        self.head_since = self.loop.time()
        self.before_head = 0
        self.checked, self.slow = 0, 0.0
        self.unread, self.unread_since = 0, 0.0

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        super().data_received(data)
        if self.head_since is not None and self.received - self.before_head > HEAD_BYTES:
            self.refuse(431, f"The request's line and headers are larger than {HEAD_BYTES // 1024} KiB.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.head_since = self.loop.time()

    def on_headers_complete(self) -> None:
        self.head_since = None
        if len(self.connections) > self.most:
            self.app = _full
        super().on_headers_complete()
        self.cycle.transport = self.joined  # type: ignore[assignment]

    def on_response_complete(self) -> None:
        self.joined.complete()
        super().on_response_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self.before_head = self.received

    def refuse(self, status: int, detail: str) -> None:
        """Say why, where nothing was said yet, and close the connection."""
        if self.transport.is_closing():
            return
        if self.cycle is None or not self.cycle.response_started or self.cycle.response_complete:
            self.transport.write(_plain(status, detail))
        self.transport.close()

    def look(self, now: float) -> None:
        """Cut a client off that is too slow. Called every LOOK_SECONDS."""
        if self.transport is None or self.transport.is_closing():
            return
        if self.head_since is not None:
            if now - self.head_since > HEAD_SECONDS:
                self.refuse(408, f"The request's headers did not come within {HEAD_SECONDS:g} s.")
            return
        came, self.checked = self.received - self.checked, self.received
        cycle = self.cycle
        if cycle.response_complete and not self.pipeline and self.timeout_keep_alive_task is None:
            self.head_since = now  # what came after the answer is no request yet: empty lines, the rest of a body
        awaited = cycle.more_body and not cycle.response_started and not self.flow.read_paused
        awaited = awaited and not cycle.waiting_for_100_continue
        self.slow = self.slow + LOOK_SECONDS if awaited and came < SLOW_BYTES * LOOK_SECONDS else 0.0
        if self.slow >= SLOW_SECONDS:
            self.refuse(408, f"The body came at less than {SLOW_BYTES} bytes a second for {SLOW_SECONDS:g} s.")
        left = self.transport.get_write_buffer_size()
        if left == 0 or left != self.unread:
            self.unread, self.unread_since = left, now
        elif now - self.unread_since > UNREAD_SECONDS:
            self.transport.abort()


async def watch(connections: set[Any]) -> None:
    """Look at every connection, over and over; there is nothing to do for one that is quick."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        now = loop.time()
        for connection in list(connections):
            if isinstance(connection, Connection):
                connection.look(now)


def bounded(most: int) -> type[Connection]:
    """The connection of a server that has `most` of them at once; who comes then is told to come later (503)."""
    return type("Bounded", (Connection,), {"most": most})


def most_connections() -> int:
    """How many connections there may be at once: what is open besides needs files, too."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return max(1, min(MOST_CONNECTIONS, max(soft - SPARE_FILES, soft // 2)))  # where there are few files, half of them


async def _full(scope: Scope, receive: Receive, send: Send) -> None:
    """The answer of a gateway that has as many connections as it may have."""
    _, _, data = _plain(503, "The gateway has as many connections as it may have.").partition(b"\r\n\r\n")
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(data)).encode()),
        (b"retry-after", b"2"),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": data})


def _plain(status: int, detail: str) -> bytes:
    """A whole answer, for when there is no request that could have one."""
    title = {408: "Request Timeout", 431: "Request Header Fields Too Large", 503: "Service Unavailable"}[status]
    told = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    data = json.dumps(told).encode()
    head = f"HTTP/1.1 {status} {title}\r\ncontent-type: application/problem+json\r\ncontent-length: {len(data)}\r\n"
    return head.encode() + b"connection: close\r\nx-content-type-options: nosniff\r\n\r\n" + data
