"""Everything that a worker measures of itself: its tally, its port for scrapes, and what it says through the broker."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import redis

from runtime import keys
from runtime.attempts.tally import Tally
from runtime.deployment.deployment import Deployment
from runtime.host.process_tree import Meter, Usage
from runtime.worker.worker_metrics import Port, Told

SAY_SECONDS = 10.0
KEPT_SECONDS = 60


class Meters:
    """One per worker. `ended` is for all of its processes, `forked` for its children, the rest for the parent."""

    def __init__(
        self,
        client: redis.Redis,
        deployment: Deployment,
        worker: str,
        queue: str | None,
        tally: Tally | None,
        running: Callable[[], int],
    ) -> None:
        """`queue` None: a worker that Celery's own command has started. It has no port, for it has no position."""
        self._client, self._name, self._meter = client, keys.metrics_worker(worker), Meter()
        self._tally = tally or Tally(queue or "")
        self.ended, self._next = self._tally.ended, 0.0
        project = deployment.settings.project
        port = project.metrics.port_of(list(project.queues).index(queue)) if queue in project.queues else None
        self._port: Port | None = None
        if port is not None and queue:

            def functions() -> list[str]:
                return [name for name, found in deployment.functions.items() if found.spec.queue == queue]

            told = Told(worker, queue, functions, running, self._tally, self._meter)
            self._port = Port(told, project.metrics.host, port)

    def start(self) -> None:
        if self._port:
            self._port.start()

    def turn(self) -> None:
        """To be called a few times a second: makes room for the tally, says now and then what this worker takes."""
        self._tally.drain()
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + SAY_SECONDS
            used = self._meter.read()
            fields = {"cpu": used.cpu_seconds, "memory": used.memory_bytes, "processes": used.processes}
            with contextlib.suppress(redis.RedisError), self._client.pipeline(transaction=False) as pipe:
                pipe.hset(self._name, mapping=fields)  # type: ignore[arg-type]
                pipe.expire(self._name, KEPT_SECONDS)
                pipe.execute()

    def forked(self) -> None:
        self._tally.forked()
        if self._port:
            self._port.forked()

    def close(self) -> None:
        """Leave the port to the worker that follows, and to its tally what still ends here."""
        self._tally.leave()
        if self._port:
            self._port.close()


def usages(workers: Iterable[str], found: Iterable[Mapping[bytes, Any]]) -> dict[str, Usage]:
    """What workers said of themselves, by name; `found` are their hashes, in the same order."""
    pairs = ((worker, told) for worker, told in zip(workers, found, strict=True) if told)
    return {worker: Usage(float(told[b"cpu"]), int(told[b"memory"]), int(told[b"processes"])) for worker, told in pairs}
