"""Answers that stay open: server-sent events, a bounded number of them, ended when the gateway is."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from gateway.web.problems import refuse

MOST = 200
"""Streams that may be open at once. Each looks at Redis five times a second."""

LOOK_SECONDS = 0.2
FIRST_LOOK_SECONDS = 0.02
"""The first looks are close together: most calls are short."""

HEARTBEAT_SECONDS = 15.0
RECONNECT_MS = 1000

EVENT_STREAM = "text/event-stream"


class Streams:
    """The open streams of one gateway."""

    def __init__(self) -> None:
        self.count = 0
        self.over = False
        """The gateway is being stopped: every stream ends at its next turn."""

    def give_up(self) -> None:
        self.over = True

    def open(self, chunks: AsyncIterator[bytes]) -> Stream:
        """Answer with a stream. Refuses with 503 where there are too many already."""
        if self.over or self.count >= MOST:
            why = "The gateway is being stopped." if self.over else f"{MOST} streams are open; no more are possible."
            refuse(503, why, headers={"Retry-After": "5"})
        self.count += 1
        return Stream(self, chunks)

    def closed(self) -> None:
        self.count -= 1


class Stream(StreamingResponse):
    """One open answer. It ends when its client leaves."""

    def __init__(self, streams: Streams, chunks: AsyncIterator[bytes]) -> None:
        # A proxy in front must not gather what is sent.
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(chunks, headers=headers, media_type=EVENT_STREAM)
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.body_iterator = _while_known(Request(scope), self.body_iterator)
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._streams.closed()


async def _while_known(request: Request, chunks: Any) -> AsyncIterator[Any]:
    """The chunks, until the key that asked for them is revoked or over: nothing is told after that."""
    auth = request.app.state.gateway.auth
    async with contextlib.aclosing(chunks) as told:
        async for chunk in told:
            if not await auth.still(request):
                return
            yield chunk


class Pace:
    """When to look again, and when a silent stream needs a sign of life."""

    def __init__(self) -> None:
        self._pause = FIRST_LOOK_SECONDS
        self._spoken = time.monotonic()

    def spoke(self) -> None:
        self._spoken = time.monotonic()

    async def wait(self) -> bytes:
        """Until the next look; what is to be sent before it."""
        await asyncio.sleep(self._pause)
        self._pause = min(LOOK_SECONDS, self._pause * 1.5)
        if time.monotonic() - self._spoken < HEARTBEAT_SECONDS:
            return b""
        self.spoke()
        return b": still here\n\n"


def retry_hint() -> bytes:
    """The beginning of every stream: when a client that lost it comes back."""
    return b"retry: %d\n\n" % RECONNECT_MS


def event(name: str, position: str, data: bytes) -> bytes:
    """One event. `position` is what the client sends as Last-Event-ID when it comes back."""
    lines = b"".join(b"data: %s\n" % line for line in data.splitlines() or [b""])
    return b"event: %s\nid: %s\n%s\n" % (name.encode(), position.encode(), lines)
