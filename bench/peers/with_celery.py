"""Plain Celery: the app for `celery -A bench.peers.with_celery worker`, and its client."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

from celery import Celery

from bench.peers import drive, work

app = Celery("peer", broker=drive.broker_url(), backend=drive.results_url())
TASKS: dict[str, Any] = {
    name: app.task(name=f"peer.{name}")(getattr(work, name)) for name in ("noop", "size", "burn", "rest")
}


class PlainCelery(drive.Peer):
    """`delay().get()`, as Celery's own guide has it, with results in Redis."""

    def call(self, client: int, function: str, given: drive.Given) -> None:
        TASKS[function].delay(**given).get(timeout=drive.PATIENCE_SECONDS)

    def send(self, client: int, function: str, given: drive.Given) -> None:
        TASKS[function].delay(**given)

    def together(self, function: str, given: drive.Given, clients: int, seconds: float) -> drive.Told:
        """As many calls out as there are clients, by one thread: Celery's results are not to be had from several."""
        told, out, until = drive.Told(clients), deque[Any](), time.perf_counter() + seconds
        number = 0

        def go() -> None:
            nonlocal number
            client, began = number % clients, time.perf_counter()
            number += 1
            made = TASKS[function].delay(**given)
            made.then(lambda _: told.done(client, time.perf_counter() - began))
            out.append(made)

        for _ in range(clients):
            go()
        while out:
            out.popleft().get(timeout=drive.PATIENCE_SECONDS)
            if time.perf_counter() < until:
                go()
        return told

    def ended(self) -> int:
        """Each call that has ended leaves a result."""
        return int(app.backend.client.dbsize())


if __name__ == "__main__":
    drive.serve(PlainCelery())
