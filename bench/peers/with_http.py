"""The client of everything that speaks HTTP: `python -m bench.peers.with_http SHAPE URL`.

One connection a client, kept alive; a request is one write, an answer is read by its Content-Length. It costs some
30 µs of processor time a call with uvloop, so that what is measured is the server.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from bench.peers import drive

_HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Shape:
    """How a server wants its calls: paths by function, and where the arguments are in the body."""

    call: str
    send: str = ""
    wrapped: str = ""


SHAPES = {
    "tundish": Shape("/function/{}", "/async-function/{}"),
    "flower": Shape("/api/task/apply/peer.{}", "/api/task/async-apply/peer.{}", "kwargs"),
    "plain": Shape("/{}"),
}


class Refused(Exception):
    """The server answered something else than 2xx."""


class Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self) -> None:
        self._transport: Any = None
        self._buffer = bytearray()
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self._answer and not self._answer.done():
            self._answer.set_exception(ConnectionError("the server hung up"))

    async def ask(self, raw: bytes) -> tuple[int, bytes]:
        """Status and body."""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(raw)
        return await self._answer

    def close(self) -> None:
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(_HEAD_END)
        if end < 0 or self._answer is None:
            return
        head = bytes(self._buffer[:end]).lower()
        _, found, value = head.partition(b"\r\ncontent-length:")
        if not found:
            self._answer.set_exception(Refused(f"an answer without Content-Length: {head[:80]!r}"))
            return
        whole = end + len(_HEAD_END) + int(value.split(b"\r\n", 1)[0])
        if len(self._buffer) >= whole:
            body = bytes(self._buffer[end + len(_HEAD_END) : whole])
            del self._buffer[:whole]
            self._answer.set_result((int(head[9:12]), body))


class Http(drive.AsyncPeer):
    """Connections are made before the clock runs: servers close those that lay idle."""

    def __init__(self, shape: Shape, url: str) -> None:
        parts = urlsplit(url)
        self._shape, self._host, self._port = shape, str(parts.hostname), int(parts.port or 80)
        self._connections: list[Connection] = []
        self._made: tuple[Any, ...] = ()
        self._raw = b""

    async def ready(self, clients: int) -> None:
        for old in self._connections:
            old.close()
        self._connections = [await self._connect() for _ in range(clients)]
        self._made = ()  # the next order's arguments may lie where the last one's did

    async def call(self, client: int, function: str, given: drive.Given) -> None:
        await self._ask(client, self._shape.call, function, given)

    async def send(self, client: int, function: str, given: drive.Given) -> None:
        await self._ask(client, self._shape.send, function, given)

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(Connection, self._host, self._port)
        return made

    async def _ask(self, client: int, path: str, function: str, given: drive.Given) -> None:
        raw = self._request(path, function, given)
        if self._connections[client].closed:
            self._connections[client] = await self._connect()
        status, body = await self._connections[client].ask(raw)
        if not 200 <= status < 300:
            raise Refused(f"{status}: {body[:200]!r}")

    def _request(self, path: str, function: str, given: drive.Given) -> bytes:
        """The bytes of a request; those of the one before, where it is the same."""
        if self._made != (path, function, id(given)):
            body = json.dumps({self._shape.wrapped: given} if self._shape.wrapped else given).encode()
            head = (
                f"POST {path.format(function)} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            self._made, self._raw = (path, function, id(given)), head.encode() + body
        return self._raw


if __name__ == "__main__":
    drive.serve(Http(SHAPES[sys.argv[1]], sys.argv[2]))
