"""Kombu's Redis transport with the lean channel: how a worker's connection and its event loop meet."""

from __future__ import annotations

import threading
from typing import Any

from kombu.transport import redis as stock

from runtime.worker.channel import Channel
from runtime.worker.poller import Poller, Readers


class Transport(stock.Transport):  # type: ignore[misc]
    """`broker_transport` of a worker whose queue has `channel: lean`."""

    Channel = Channel
    loop: Any = None
    """Celery's event loop; None where a pool has none (gevent)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cycle = Poller()
        self._consuming = threading.get_ident()

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        self.loop = loop
        super().register_with_event_loop(connection, Readers(loop))

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:
        self._consuming = threading.get_ident()
        if any(channel.stopping for channel in self.channels):
            raise TimeoutError  # Celery's loop turns once more after it was told to stop
        if not any(channel.deliver() for channel in list(self.channels)):
            super().drain_events(connection, timeout)

    def wake(self) -> None:
        """Another thread than the consuming one has made room."""
        if threading.get_ident() == self._consuming:
            return
        if self.loop is None:
            self.cycle.ring()
        else:
            self.loop.call_soon(_nothing)


def _nothing() -> None:
    """What an event loop is woken with."""
