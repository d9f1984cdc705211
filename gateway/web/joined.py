"""What answers are written to: the head of one waits for the body that comes in the same turn of the event loop.

uvloop sends what it is given at once. Two pieces are two system calls here, and a client that wakes up twice.
"""

from __future__ import annotations

import asyncio


class Joined:
    """As much of a transport as uvicorn writes an answer to. One for a connection, whose answers come in turn."""

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport) -> None:
        self._loop, self._transport, self.is_closing = loop, transport, transport.is_closing
        self._head: bytes | None = None
        """None before it is written, empty when it was sent."""

    def write(self, data: bytes) -> None:
        if self._head is None:
            self._head = data
            self._loop.call_soon(self._send)
        elif self._head:
            head, self._head = self._head, b""
            self._transport.writelines((head, data))
        else:
            self._transport.write(data)

    def close(self) -> None:
        self._send()
        self._transport.close()

    def complete(self) -> None:
        """An answer is at its end, which may have no body."""
        self._send()
        self._head = None

    def _send(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            if not self.is_closing():
                self._transport.write(head)
