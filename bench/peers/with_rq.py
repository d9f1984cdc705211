"""RQ's client; its workers are started with `rq worker`, and fork for every call, as RQ does by default."""

from __future__ import annotations

from typing import Any

import redis
from rq import Queue
from rq.registry import FinishedJobRegistry

from bench.peers import drive

QUEUE = "peer"


class Rq(drive.Peer):
    """`enqueue()` and `latest_result(timeout)`, which waits in Redis."""

    def __init__(self) -> None:
        self._redis = redis.Redis.from_url(drive.broker_url())
        self._queue = Queue(QUEUE, connection=self._redis)

    def call(self, client: int, function: str, given: drive.Given) -> None:
        found: Any = self._send(function, given).latest_result(timeout=int(drive.PATIENCE_SECONDS))
        if found is None or found.type != found.Type.SUCCESSFUL:
            raise RuntimeError(f"{function}: no result")

    def send(self, client: int, function: str, given: drive.Given) -> None:
        self._send(function, given)

    def ended(self) -> int:
        return int(self._redis.zcard(FinishedJobRegistry(queue=self._queue).key))

    def _send(self, function: str, given: drive.Given) -> Any:
        return self._queue.enqueue(f"bench.peers.work.{function}", kwargs=dict(given))


if __name__ == "__main__":
    drive.serve(Rq())
