"""Raw Redis hops: what a call costs when a list is all there is. A client, and with `serve` the worker.

Two writes and two waits on the same broker: nothing is recorded, nothing survives, nobody is asked.
"""

from __future__ import annotations

import json
import sys
import uuid
from typing import Any

import redis

from bench.peers import drive, work

CALLS, DONE = "hops:calls", "hops:done"


class Hops(drive.Peer):
    """LPUSH of the call, BLPOP of the answer."""

    def __init__(self) -> None:
        self._redis = redis.Redis.from_url(drive.broker_url(), socket_timeout=None)

    def call(self, client: int, function: str, given: drive.Given) -> None:
        reply = f"hops:{uuid.uuid4().hex}"
        self._redis.lpush(CALLS, json.dumps([function, given, reply]))
        found: Any = self._redis.blpop([reply], timeout=int(drive.PATIENCE_SECONDS))
        if found is None:
            raise TimeoutError(function)

    def send(self, client: int, function: str, given: drive.Given) -> None:
        self._redis.lpush(CALLS, json.dumps([function, given, ""]))

    def ended(self) -> int:
        return int(self._redis.get(DONE) or 0)


def serve() -> None:
    """Take a call, run it, push its answer."""
    broker: Any = redis.Redis.from_url(drive.broker_url(), socket_timeout=None)
    while True:
        _, raw = broker.brpop([CALLS])
        function, given, reply = json.loads(raw)
        answer = json.dumps(getattr(work, function)(**given))
        if reply:
            broker.lpush(reply, answer)
        else:
            broker.incr(DONE)


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        serve()
    else:
        drive.serve(Hops())
