"""dramatiq: the actors for `dramatiq bench.peers.with_dramatiq`, and their client."""

from __future__ import annotations

from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from bench.peers import drive, work

results = RedisBackend(url=drive.broker_url())
broker = RedisBroker(url=drive.broker_url())
broker.add_middleware(Results(backend=results))
dramatiq.set_broker(broker)
ACTORS: dict[str, Any] = {
    name: dramatiq.actor(getattr(work, name), actor_name=f"peer_{name}", store_results=True)
    for name in ("noop", "size", "burn", "rest")
}


class Dramatiq(drive.Peer):
    """`send()` and `get_result(block=True)`, which waits in Redis."""

    def call(self, client: int, function: str, given: drive.Given) -> None:
        sent = ACTORS[function].send(**given)
        sent.get_result(block=True, timeout=int(drive.PATIENCE_SECONDS * 1000))

    def send(self, client: int, function: str, given: drive.Given) -> None:
        ACTORS[function].send(**given)

    def ended(self) -> int:
        """A message is there until it has been acknowledged, which is when its result is."""
        return self.sent - int(broker.client.hlen("dramatiq:default.msgs"))


if __name__ == "__main__":
    drive.serve(Dramatiq())
