"""The head of an answer goes with its body, and never waits for one that comes later."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import uvicorn
import uvloop
from starlette.types import Receive, Scope, Send

from gateway.web import connection
from gateway.web.joined import Joined

HEAD, BODY = b"HTTP/1.1 200 OK\r\n\r\n", b"null"


class Recorded(asyncio.Transport):
    """Keeps what is written, a list of pieces for each system call that it would take."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[list[bytes]] = []
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.calls.append([bytes(data)])

    def writelines(self, list_of_data: object) -> None:
        assert isinstance(list_of_data, tuple)
        self.calls.append(list(list_of_data))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


def written(*steps: bytes | str, turns: int = 0) -> list[list[bytes]]:
    """What is written when an answer writes bytes, is complete, or is closed, and so many turns of the event loop
    have passed."""
    transport = Recorded()

    async def main() -> list[list[bytes]]:
        joined = Joined(asyncio.get_running_loop(), transport)
        for step in steps:
            if isinstance(step, bytes):
                joined.write(step)
            else:
                {"complete": joined.complete, "close": joined.close}[step]()
        for _ in range(turns):
            await asyncio.sleep(0)
        return list(transport.calls)

    return asyncio.run(main())


def test_a_head_and_its_body_are_one_piece_of_work() -> None:
    assert written(HEAD, BODY, "complete", turns=2) == [[HEAD, BODY]]


def test_so_are_those_of_the_next_answer() -> None:
    found = written(HEAD, BODY, "complete", HEAD, BODY, "complete", turns=2)
    assert found == [[HEAD, BODY], [HEAD, BODY]]


def test_a_head_alone_goes_in_the_next_turn() -> None:
    assert written(HEAD) == []
    assert written(HEAD, turns=2) == [[HEAD]]


def test_an_answer_without_a_body_does_not_wait() -> None:
    assert written(HEAD, "complete") == [[HEAD]]


def test_what_is_closed_at_once_is_sent_before() -> None:
    assert written(HEAD, "close") == [[HEAD]]


def test_nothing_is_written_to_a_connection_that_is_closed() -> None:
    assert written("close", HEAD, turns=2) == []


def test_further_pieces_of_a_body_go_as_they_come() -> None:
    assert written(HEAD, BODY, BODY) == [[HEAD, BODY], [BODY]]


@contextlib.asynccontextmanager
async def serving(app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> AsyncIterator[tuple[str, int]]:
    """An address behind which the gateway's connections stand before `app`."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        config = uvicorn.Config(
            app, http=connection.bounded(10), log_config=None, lifespan="off", ws="none", interface="asgi3"
        )
        server = uvicorn.Server(config)
        running = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started:
            await asyncio.sleep(0.01)
        try:
            yield listening.getsockname()
        finally:
            server.should_exit = server.force_exit = True
            await running


def test_a_stream_begins_before_its_first_item() -> None:
    async def main() -> None:
        heard = asyncio.Event()

        async def app(_: Scope, __: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await heard.wait()
            await send({"type": "http.response.body", "body": BODY})

        async with asyncio.timeout(20), serving(app) as address:
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            heard.set()
            assert await reader.readuntil(b"0\r\n\r\n") == b"4\r\nnull\r\n0\r\n\r\n"
            writer.close()

    uvloop.run(main())


def test_answers_to_requests_that_come_together_keep_their_order() -> None:
    async def main() -> None:
        async def app(scope: Scope, _: Receive, send: Send) -> None:
            body = scope["path"].encode()
            headers = [(b"content-length", b"%d" % len(body))]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": body})

        async with asyncio.timeout(20), serving(app) as address:
            reader, writer = await asyncio.open_connection(*address)
            asked = [(b"GET", b"/one"), (b"HEAD", b"/two"), (b"GET", b"/three")]
            writer.write(b"".join(b"%s %s HTTP/1.1\r\nhost: a\r\n\r\n" % one for one in asked))
            found = []
            for method, path in asked:
                assert f"content-length: {len(path)}".encode() in await reader.readuntil(b"\r\n\r\n")
                found.append(b"" if method == b"HEAD" else await reader.readexactly(len(path)))
            assert found == [b"/one", b"", b"/three"]
            writer.close()

    uvloop.run(main())
