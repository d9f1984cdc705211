"""Clients that are slow, or many, or send too much before they say what they want: each costs little."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import uvicorn
from starlette.requests import ClientDisconnect, Request
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from gateway.web import connection, held
from gateway.web.body import Oversized, read_up_to
from tests.gatewaying import problem
from tests.workers import until

LARGE = 64 * 2**20


class Front:
    """A server with the gateway's connections over a small application; it keeps what became of its requests."""

    def __init__(self, most: int) -> None:
        self.became: list[str] = []
        config = uvicorn.Config(
            self.app,
            http=connection.bounded(most),
            log_config=None,
            lifespan="off",
            access_log=False,
            ws="none",
            interface="asgi3",
            proxy_headers=False,
        )
        self.server = uvicorn.Server(config)
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.address = self._socket.getsockname()
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(),))

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Reads a body and tells its size; `/large` answers with 64 MiB in pieces, `/slow` takes its time."""
        request = Request(scope, receive)
        if scope["path"] == "/slow":
            await asyncio.sleep(0.5)
        try:
            told = str(len(await read_up_to(request, 2**20))).encode()
        except (ClientDisconnect, Oversized) as error:
            self.became.append(type(error).__name__)
            told = b"!"
        large = scope["path"] == "/large"
        length = LARGE if large else len(told)
        headers = [(b"content-length", str(length).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if large:
            piece = bytes(2**16)
            try:
                for _ in range(LARGE // len(piece)):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            finally:
                self.became.append("read" if self.whole(scope) else "left")
        await send({"type": "http.response.body", "body": b"" if large else told})

    def whole(self, scope: Scope) -> bool:
        """Whether the client of a request is still there."""
        return any(one.scope is scope for one in self.server.server_state.connections)  # type: ignore[union-attr]

    async def _serve(self) -> None:
        watching = asyncio.create_task(connection.watch(self.server.server_state.connections))
        await self.server.serve(sockets=[self._socket])
        watching.cancel()

    def __enter__(self) -> Front:
        self._thread.start()
        until(lambda: self.server.started)
        return self

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = self.server.force_exit = True
        self._thread.join()

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=20)

    @property
    def open(self) -> int:
        return len(self.server.server_state.connections)


@pytest.fixture
def front(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Front]]:
    """A front whose patience is short: a client that is not meant to be slow is never near it."""
    monkeypatch.setattr(connection, "LOOK_SECONDS", 0.05)
    with contextlib.ExitStack() as stack:

        def build(most: int = 100, **patience: float) -> Front:
            for name, value in patience.items():
                monkeypatch.setattr(connection, name, value)
            return stack.enter_context(Front(most))

        yield build


def answer(client: socket.socket) -> bytes:
    """All that comes until the connection is closed."""
    parts = []
    with contextlib.suppress(ConnectionError):
        while part := client.recv(65536):
            parts.append(part)
    return b"".join(parts)


def test_a_request_whose_headers_do_not_end(front: Callable[..., Front]) -> None:
    house = front(HEAD_SECONDS=0.3)
    silent, dribbling, empty = house.connect(), house.connect(), house.connect()
    dribbling.sendall(b"POST / HTTP/1.1\r\nhost: x\r\n")
    empty.sendall(b"\r\n\r\n")

    def more() -> bool:
        with contextlib.suppress(OSError):
            dribbling.sendall(b"x-more: 1\r\n")
        return house.open == 0

    until(more)
    for client in (silent, empty, dribbling):
        told = answer(client)
        assert told.startswith(b"HTTP/1.1 408 Request Timeout\r\n") or client is dribbling
        assert b"application/problem+json" in told or client is dribbling


def test_headers_that_are_too_large(front: Callable[..., Front]) -> None:
    house = front()
    for start in (b"GET /", b"GET / HTTP/1.1\r\nhost: x\r\nx-large: ", b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 100):
        client = house.connect()
        client.sendall(start)
        piece = b"a: b\r\n" * 100 if start.endswith(b"\n") else b"a" * 600
        with contextlib.suppress(OSError):
            for _ in range(400):
                client.sendall(piece)
        until(lambda: house.open == 0)
        assert answer(client)[:12] in (b"HTTP/1.1 431", b"")  # nothing, where the rest was still on its way


def test_a_body_that_dribbles(front: Callable[..., Front]) -> None:
    house = front(SLOW_SECONDS=0.5)
    client = house.connect()
    client.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n")

    def more() -> bool:
        with contextlib.suppress(OSError):
            client.sendall(b"x")
        return house.open == 0

    until(more)
    until(lambda: house.became == ["ClientDisconnect"])


def test_who_is_quick_enough_is_served(front: Callable[..., Front]) -> None:
    house = front(HEAD_SECONDS=20, SLOW_SECONDS=20)
    client = house.connect()
    for body in (b"", b"x" * 100_000, b"y"):
        client.sendall(b"POST /slow HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body))
        client.sendall(body)
        told = client.recv(1000)
        assert told.startswith(b"HTTP/1.1 200")
        while not told.endswith(str(len(body)).encode()):
            told += client.recv(1000)
    client.close()
    until(lambda: house.open == 0)
    assert house.became == []


def test_a_client_that_waits_to_be_told_to_go_on_is_not_slow(front: Callable[..., Front]) -> None:
    house = front(SLOW_SECONDS=0.2)
    client = house.connect()
    client.sendall(
        b"POST /slow HTTP/1.1\r\nhost: x\r\nconnection: close\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n"
    )
    assert client.recv(1000).startswith(b"HTTP/1.1 100")
    client.sendall(b"hello")
    assert answer(client).endswith(b"5")


def test_an_answer_that_is_not_read(front: Callable[..., Front]) -> None:
    house = front(UNREAD_SECONDS=0.3)
    client = house.connect()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    client.sendall(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n")
    until(lambda: house.open == 1)
    until(lambda: house.open == 0)
    client.close()
    until(lambda: house.became == ["left"])


def test_an_answer_that_is_read_slowly(front: Callable[..., Front]) -> None:
    house = front(UNREAD_SECONDS=5.0)
    client = house.connect()
    client.sendall(b"GET /large HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    began, got = time.monotonic(), 0
    while part := client.recv(2**20):
        got += len(part)
        if time.monotonic() - began < 0.3:
            time.sleep(0.01)
    assert got > LARGE


def test_more_connections_than_there_may_be(front: Callable[..., Front]) -> None:
    house = front(most=3)
    held = [house.connect() for _ in range(3)]
    until(lambda: house.open == 3)
    late = house.connect()
    late.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    told = answer(late)
    assert told.startswith(b"HTTP/1.1 503") and b"retry-after: 2\r\n" in told and b"connection: close" in told
    held.pop().close()
    until(lambda: house.open == 2)
    client = house.connect()
    client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    assert answer(client).startswith(b"HTTP/1.1 200")


def test_bodies_that_have_to_be_whole_share_their_room(web: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "MOST_BYTES", 0)
    room = web.app.state.gateway.held  # type: ignore[attr-defined]
    large = {"a": 1, "items": [{"text": "x" * 100_000}]}
    room.total = 32 * 2**20 - 50_000  # twice `limits.body`
    answer = web.post("/function/add", json=large)
    assert "of bodies that are still coming" in problem(answer, 503)["detail"]
    assert answer.headers["retry-after"] == "2"
    assert room.total == 32 * 2**20 - 50_000, "nothing of it is counted any more"
    assert web.post("/async-function/add", json={"a": 1}).status_code == 202, "a small one has its room"
    room.total = 0
    assert web.post("/async-function/add", json=large).status_code == 202
    assert room.total == 0


def test_how_many_there_may_be_follows_from_the_files_that_may_be_open(monkeypatch: pytest.MonkeyPatch) -> None:
    for soft, most in ((1024, 724), (20_000, 10_000), (256, 128), (100, 50), (resource.RLIM_INFINITY, 10_000)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, soft=soft: (soft, soft))
        assert connection.most_connections() == most
