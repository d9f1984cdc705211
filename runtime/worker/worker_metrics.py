"""A worker's metrics at a port of its own, in its parent process: what this worker did, from its tally."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.metrics_core import Metric

from runtime.host.process_tree import Meter
from runtime.metrics import exposition

if TYPE_CHECKING:
    from runtime.attempts.tally import Tally

AGAIN_SECONDS = 1.0
"""The worker that this one replaces has the port until it stops."""

log = logging.getLogger("tundish.worker")


@dataclass(eq=False)  # a registry keeps collectors by identity
class Told:
    """What a scrape is answered: the tally, and what the worker runs and takes at this moment."""

    worker: str
    queue: str
    functions: Callable[[], Iterable[str]]
    running: Callable[[], int]
    tally: Tally
    meter: Meter

    def collect(self) -> Iterator[Metric]:
        yield from exposition.tasks(self.tally.counts(), self.functions())
        yield exposition.active({self.worker: self.running()})
        yield from exposition.usage({(self.worker, self.queue): self.meter.read()})


class Port:
    """Answers scrapes at an address, from threads of its own. One that is taken is waited for."""

    def __init__(self, told: Told, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._registry = CollectorRegistry()
        self._registry.register(told)
        self._server: WSGIServer | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._open, name="metrics", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Leave the address to whoever comes next, soon: nobody waits for it."""
        self._stop.set()
        threading.Thread(target=self._close, name="metrics", daemon=True).start()

    def forked(self) -> None:
        """In a child: it would keep the address, and answer nobody."""
        if self._server is not None:
            self._server.socket.close()

    def _close(self) -> None:
        if self._thread.is_alive():
            self._thread.join()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def _open(self) -> None:
        said = False
        while not self._stop.is_set():
            try:
                self._server, _ = start_http_server(self._port, self._host, self._registry)
            except OSError as error:
                if not said:
                    where = f"{self._host}:{self._port} (PROMETHEUS_HOST, PROMETHEUS_PORT)"
                    log.info("metrics wait for their address %s: %s", where, error.strerror or error)
                said = True
                self._stop.wait(AGAIN_SECONDS)
            else:
                return
