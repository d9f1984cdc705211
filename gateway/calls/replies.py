"""Waiting for ends of invocations: one subscription for the whole process, and a look at the records besides.

The word that a call has ended brings its answer along, if that is small: then nobody has to ask for it. Pub/sub may
drop a message, so the records that somebody waits for are also read once a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import msgpack
import redis
import redis.asyncio

from runtime import keys
from runtime.broker.wire import open_line
from runtime.errors import BrokerDown
from runtime.invocations.invocation import Invocation, decode, read_async

POLL_SECONDS = 1.0
RECONNECT_SECONDS = 0.5
log = logging.getLogger("tundish.gateway")


class Stopping(Exception):
    """The gateway is being stopped; the invocation goes on without it."""


class Replies:
    """Futures by invocation id. `listen` and `poll` run for as long as the gateway does."""

    def __init__(self, client: redis.asyncio.Redis, listener: redis.asyncio.Redis, gateway: str) -> None:
        self._client, self._listener = client, listener
        self._channel = keys.reply(gateway)
        self._waiting: dict[str, asyncio.Future[Invocation | None]] = {}
        self._followed: dict[str, asyncio.Event] = {}

    def expect(self, task_id: str) -> _Expected:
        """Begin to wait, before the call is submitted. The future is done when the invocation may have ended: with what
        is needed for its answer, or with None where the record has to be read."""
        return _Expected(self._waiting, task_id)

    @contextlib.contextmanager
    def follow(self, task_id: str) -> Iterator[asyncio.Event]:
        """Begin to listen for the items of a call. The event is set when there may be more, or its end."""
        self._followed[task_id] = wake = asyncio.Event()
        try:
            yield wake
        finally:
            del self._followed[task_id]

    async def result(
        self, future: asyncio.Future[Invocation | None], task_id: str, timeout: float
    ) -> Invocation | None:
        """The record once it is terminal; as it is when `timeout` seconds are over. Raises BrokerDown, Stopping."""
        over = asyncio.get_running_loop().call_later(timeout, _let_go, future)
        try:
            found = await future
        finally:
            over.cancel()
        return found or await read_async(self._client, task_id)

    def give_up(self) -> None:
        """Let everybody go who waits: the process is about to end."""
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(Stopping())
        for wake in self._followed.values():
            wake.set()

    async def listen(self) -> None:
        """Hear of ends, over one connection that is opened again whenever it breaks."""
        while True:
            try:
                line = await open_line(self._listener, self._heard)
                try:
                    line.say("SUBSCRIBE", self._channel)
                    await line.over
                finally:
                    line.drop(Stopping())
                log.debug("the reply listener lost the broker (%s)", line.lost)
            except (redis.RedisError, OSError) as error:
                log.debug("the reply listener lost the broker (%s)", type(error).__name__)
            await asyncio.sleep(RECONNECT_SECONDS)

    async def poll(self) -> None:
        """Look at the records of all that waited for a whole turn already."""
        known: set[str] = set()
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                for task_id in known & set(self._waiting):
                    record = await read_async(self._client, task_id)
                    if record is not None and record.terminal:  # None: it is just being submitted
                        self._ended(task_id)
            except (BrokerDown, redis.RedisError, OSError):
                pass  # the next turn tries again; who waits is told at the end of the time
            known = set(self._waiting)

    async def close(self) -> None:
        await self._listener.aclose()

    def _heard(self, told: list[Any]) -> None:
        """An id, and behind it the fields of its record that make its answer, if it has ended and they are few."""
        if told[0] != b"message":
            return
        name, _, packed = told[2].partition(b"\n")
        task_id, found = name.decode(), None
        if packed and task_id in self._waiting:
            fields = iter(msgpack.unpackb(packed, raw=True))
            found = decode(task_id, dict(zip(fields, fields, strict=True)))
        self._ended(task_id, found)

    def _ended(self, task_id: str, found: Invocation | None = None) -> None:
        if wake := self._followed.get(task_id):
            wake.set()
        future = self._waiting.get(task_id)
        if future is not None and not future.done():
            future.set_result(found)


class _Expected:
    """The block of one that waits."""

    __slots__ = ("_id", "_waiting")

    def __init__(self, waiting: dict[str, asyncio.Future[Invocation | None]], task_id: str) -> None:
        self._waiting, self._id = waiting, task_id

    def __enter__(self) -> asyncio.Future[Invocation | None]:
        future = self._waiting[self._id] = asyncio.get_running_loop().create_future()
        return future

    def __exit__(self, *_: object) -> None:
        self._waiting.pop(self._id).cancel()


def _let_go(future: asyncio.Future[Invocation | None]) -> None:
    """The time of whoever waits is over."""
    if not future.done():
        future.set_result(None)
