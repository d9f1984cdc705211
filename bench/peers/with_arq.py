"""arq: the settings for `arq bench.peers.with_arq.Worker`, and its client."""

from __future__ import annotations

import asyncio
from typing import Any

import redis
from arq import create_pool
from arq.connections import RedisSettings

from bench.peers import drive, work

POLL_SECONDS = 0.001
"""arq asks for work and for results at intervals: 0.5 s both, unless told otherwise."""


async def noop(_: Any) -> None:
    work.noop()


async def size(_: Any, data: str) -> int:
    return work.size(data)


async def burn(_: Any) -> None:
    work.burn()


async def rest(_: Any) -> None:
    await asyncio.sleep(0.05)


class Worker:
    """As `arq` reads it; results are kept for an hour."""

    functions = (noop, size, burn, rest)
    redis_settings = RedisSettings.from_dsn(drive.broker_url())
    poll_delay = POLL_SECONDS


class Arq(drive.AsyncPeer):
    """`enqueue_job()` and `result()`."""

    _pool: Any = None
    _clients = 1

    async def ready(self, clients: int) -> None:
        self._pool = self._pool or await create_pool(Worker.redis_settings)
        self._clients = clients

    async def call(self, client: int, function: str, given: drive.Given) -> None:
        job = await self._pool.enqueue_job(function, **given)
        every = POLL_SECONDS * max(1, self._clients / 16)
        await job.result(timeout=drive.PATIENCE_SECONDS, poll_delay=every)

    async def send(self, client: int, function: str, given: drive.Given) -> None:
        await self._pool.enqueue_job(function, **given)

    def ended(self) -> int:
        """A call leaves the queue when its result is there."""
        with redis.Redis.from_url(drive.broker_url()) as found:
            return self.sent - int(found.zcard("arq:queue"))


if __name__ == "__main__":
    drive.serve(Arq())
