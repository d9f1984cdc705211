"""taskiq: the broker for `taskiq worker bench.peers.with_taskiq:broker`, and its client.

Either its list broker, which is its fastest (a message that a worker has taken is gone with that worker), or the one
that its own guide has, over a Redis stream, with acknowledgements.
"""

from __future__ import annotations

import os
from typing import Any

import redis
from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend, RedisStreamBroker

from bench.peers import drive, work

KIND = RedisStreamBroker if os.environ.get("BENCH_TASKIQ") == "stream" else ListQueueBroker
# redis-py gives a pop up after 5 s: a worker that was stopped for the moment would lose what it was handed.
broker = KIND(drive.broker_url(), socket_timeout=None).with_result_backend(RedisAsyncResultBackend(drive.results_url()))
TASKS: dict[str, Any] = {
    name: broker.task(task_name=f"peer.{name}")(getattr(work, name)) for name in ("noop", "size", "burn", "rest")
}


class Taskiq(drive.AsyncPeer):
    """`kiq()` and `wait_result()`; results are asked for, so the interval decides: 1 ms instead of taskiq's 200."""

    _clients = 0

    async def ready(self, clients: int) -> None:
        if not self._clients:
            await broker.startup()
        self._clients = clients

    async def call(self, client: int, function: str, given: drive.Given) -> None:
        sent = await TASKS[function].kiq(**given)
        every = 0.001 * max(1, self._clients / 16)
        found = await sent.wait_result(check_interval=every, timeout=drive.PATIENCE_SECONDS)
        found.raise_for_error()

    async def send(self, client: int, function: str, given: drive.Given) -> None:
        await TASKS[function].kiq(**given)

    def ended(self) -> int:
        """Each call that has ended leaves a result."""
        with redis.Redis.from_url(drive.results_url()) as found:
            return int(found.dbsize())


if __name__ == "__main__":
    # The module that the worker imports is another one than __main__.
    from bench.peers.with_taskiq import Taskiq as Client

    drive.serve(Client())
