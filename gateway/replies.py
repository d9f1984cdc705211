"""Waiting for ends of invocations: one subscription for the whole process, and a look at the records besides.

Pub/sub may drop a message, so the records that somebody waits for are also read once a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator

import redis
import redis.asyncio

from runtime import keys
from runtime.errors import BrokerDown
from runtime.invocations import Invocation, read_async

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
        self._waiting: dict[str, asyncio.Future[None]] = {}

    @contextlib.contextmanager
    def expect(self, task_id: str) -> Iterator[asyncio.Future[None]]:
        """Begin to wait, before the call is submitted. The future is done when the invocation may have ended."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[task_id] = future
        try:
            yield future
        finally:
            del self._waiting[task_id]
            future.cancel()

    async def result(self, future: asyncio.Future[None], task_id: str, timeout: float) -> Invocation | None:
        """The record once it is terminal; as it is when `timeout` seconds are over. Raises BrokerDown, Stopping."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await future
        return await read_async(self._client, task_id)

    def give_up(self) -> None:
        """Let everybody go who waits: the process is about to end."""
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(Stopping())

    async def listen(self) -> None:
        """Hear of ends, over one connection that is opened again whenever it breaks."""
        while True:
            try:
                async with self._listener.pubsub() as subscription:
                    await subscription.subscribe(self._channel)
                    async for message in subscription.listen():
                        if message["type"] == "message":
                            self._ended(message["data"].decode())
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

    def _ended(self, task_id: str) -> None:
        future = self._waiting.get(task_id)
        if future is not None and not future.done():
            future.set_result(None)
