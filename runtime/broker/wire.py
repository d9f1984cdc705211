"""One connection to the broker that a whole asyncio process shares: what many ask goes out at once, and answers come
back in their order. The hot path of the gateway goes over it.

redis-py gives every command a connection of its own for as long as it takes, and spends 0.2 ms of processor time on
it; here it is 0.03 ms. Connecting (TLS, passwords, Sentinel) is redis-py's own: this takes the connection over when it
stands. tests/test_wire.py fails when what it relies on changes.

Nothing that blocks (BLMPOP, WAIT) may go over it: all others would wait, too.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import hiredis
import redis
import redis.asyncio
from redis._parsers.base import BaseParser
from redis.exceptions import NoScriptError

from runtime.broker import scripts
from runtime.broker.connection import TIMEOUT_SECONDS

Heard = Callable[[Any], None]
"""Is given what a subscription hears: a list whose first item is the kind of it."""

TOGETHER = 4
"""Commands that are sent at once while the broker is at work: a system call for each takes a tenth of accepting a call,
and the broker wakes up for each. More would keep it idle meanwhile."""

_MORE = object()
"""What a reader says when the next answer has not come as a whole."""


class Wire:
    """Opened at its first command, and again when it was lost. For one event loop."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        """`client` is one of connect_async: it says where the broker is and how it is reached."""
        self._client = client
        self._line: Line | None = None
        self._opening = asyncio.Lock()

    async def command(self, *words: scripts.Argument) -> Any:
        """One command and its answer. A connection that was lost is tried once more over a new one.

        Raises redis.RedisError; a broker that hangs is not asked twice.
        """
        packed = scripts.packed(*words)
        try:
            return await self._ask(packed)
        except redis.ConnectionError:
            return await self._ask(packed)

    async def run(self, name: str, arguments: Sequence[scripts.Argument]) -> Any:
        """Run a script that needs no keys (runtime/broker/scripts.py)."""
        text = scripts.source(name)
        try:
            return await self.command("EVALSHA", scripts.sha(text), 0, *arguments)
        except NoScriptError:
            return await self.command("EVAL", text, 0, *arguments)

    async def aclose(self) -> None:
        if self._line is not None:
            self._line.drop(redis.ConnectionError("The connection was closed."))
            self._line = None

    async def _ask(self, packed: bytes) -> Any:
        line = self._line
        if line is None or line.lost is not None:
            async with self._opening:
                line = self._line
                if line is None or line.lost is not None:
                    line = self._line = await open_line(self._client)
        try:
            return await line.ask(packed)
        except redis.exceptions.ReadOnlyError as error:  # it is a replica now: the next connection is to the master
            line.drop(redis.ConnectionError(str(error)))
            raise


class Line(asyncio.Protocol):
    """A connection that stands."""

    def __init__(self, connection: Any, heard: Heard | None = None) -> None:
        """`connection` is redis-py's, connected; what it has read and not handed out yet is lost. With `heard` it is
        one that only listens: everything that comes is heard, and nothing answers."""
        self._connection, self._heard = connection, heard
        self._transport: asyncio.Transport = connection._writer.transport
        self._reader = hiredis.Reader(
            protocolError=redis.exceptions.InvalidResponse, replyError=BaseParser.parse_error, notEnoughData=_MORE
        )
        self._asked: deque[tuple[asyncio.Future[Any], float]] = deque()
        """Who waits, and since when."""
        self._behind: list[bytes] = []
        """What is to be sent at the end of this turn of the event loop."""
        self._watch: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Event()
        self._room.set()
        self.over: asyncio.Future[None] = self._loop.create_future()
        """Done when the connection is lost."""
        self.lost: Exception | None = None
        """Why it is lost."""
        self._transport.set_protocol(self)
        self._transport.resume_reading()

    async def ask(self, packed: bytes) -> Any:
        """Send a packed command and wait for its answer. Raises redis.RedisError; TimeoutError where there is none, and
        then the connection is given up, for the others have waited, too."""
        if not self._room.is_set():  # so much is on its way that the system takes no more
            await self._room.wait()
        if self.lost is not None:
            raise self.lost
        future: asyncio.Future[Any] = self._loop.create_future()
        if not self._asked:
            self._transport.write(packed)
        else:  # the broker is at work anyway: what this turn of the event loop still asks goes with it
            self._behind.append(packed)
            if len(self._behind) == 1:
                self._loop.call_soon(self._flush)
            elif len(self._behind) == TOGETHER:
                self._flush()
        self._asked.append((future, self._loop.time()))
        if self._watch is None:  # one for all: a timer for each would take longer than the rest of this
            self._watch = self._loop.call_later(TIMEOUT_SECONDS, self._look)
        return await future

    def _flush(self) -> None:
        if self._behind:
            self._transport.write(b"".join(self._behind))
            self._behind.clear()

    def say(self, *words: scripts.Argument) -> None:
        """Send a command to which nothing is an answer (SUBSCRIBE)."""
        self._transport.write(scripts.packed(*words))

    def drop(self, why: Exception) -> None:
        """Give the connection up; who waits for an answer is told why."""
        if self.lost is not None:
            return
        self.lost = why
        self._room.set()
        with contextlib.suppress(Exception):
            self._transport.abort()
        for future, _ in self._asked:
            if not future.done():
                future.set_exception(why)
        self._asked.clear()
        self._behind.clear()
        if self._watch is not None:
            self._watch.cancel()
        if not self.over.done():
            self.over.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (answer := self._reader.gets()) is not _MORE:
                self._take(answer)
        except redis.exceptions.InvalidResponse as error:
            self.drop(redis.ConnectionError(f"The broker's answer makes no sense ({error})."))

    def eof_received(self) -> None:
        self.drop(redis.ConnectionError("Connection closed by server."))

    def connection_lost(self, exc: Exception | None) -> None:
        self.drop(redis.ConnectionError(f"The connection was lost ({exc})." if exc else "Connection closed by server."))

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()

    def _look(self) -> None:
        """Whether the first that waits has waited for too long. One that has left has, too: its answer is missing."""
        self._watch = None
        if not self._asked:
            return
        future, since = self._asked[0]
        left = since + TIMEOUT_SECONDS - self._loop.time()
        if left > 0.0:
            self._watch = self._loop.call_later(left, self._look)
            return
        if not future.done():
            future.set_exception(redis.TimeoutError("Timeout reading from socket"))
        self.drop(redis.ConnectionError("The broker has not answered in time."))

    def _take(self, answer: Any) -> None:
        if self._heard is not None:
            if isinstance(answer, Exception):
                self.drop(answer)
            elif isinstance(answer, list):
                self._heard(answer)
            return
        if isinstance(answer, hiredis.PushNotification) or not self._asked:
            return  # nobody has asked for it
        future, _ = self._asked.popleft()
        if future.done():  # who asked has left
            return
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)


async def open_line(client: redis.asyncio.Redis, heard: Heard | None = None) -> Line:
    """A new connection as `client` makes its own, for one user. Raises redis.RedisError, OSError."""
    connection = client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
    await connection.connect()
    return Line(connection, heard)
