"""Kombu's poller of Redis connections, with a bell. It waits on sockets only; an acknowledgement in memory is none.

An event loop turns several times for a call, and at each turn kombu looks at all that a worker listens to, and tells
the system of all its sockets anew. Here both are left out where nothing has changed.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Any

from kombu.transport.redis import MultiChannelPoller


class Poller(MultiChannelPoller):  # type: ignore[misc]
    """Kombu's poller with a bell: without an event loop it would sleep on while a pool makes room."""

    _bell: tuple[int, int] | None = None

    def on_poll_start(self) -> None:
        if self._paused_brpop or not all(map(_waits, self._channels)):
            super().on_poll_start()

    def get(self, callback: Any, timeout: float | None = None) -> Any:
        if self._bell is None:
            self._bell = os.pipe()
            os.set_blocking(self._bell[0], False)
            os.set_blocking(self._bell[1], False)
            self.poller.register(self._bell[0], self.eventflags)
        return super().get(callback, timeout)

    def ring(self) -> None:
        """Called by any thread."""
        if self._bell is not None:
            with contextlib.suppress(OSError):  # it rings already, or nobody listens any more
                os.write(self._bell[1], b"!")

    def handle_event(self, fileno: int, event: int) -> Any:
        if self._bell is None or fileno != self._bell[0]:
            return super().handle_event(fileno, event)
        os.read(fileno, 4096)
        return None

    def close(self) -> None:
        super().close()
        if self._bell is not None:
            bell, self._bell = self._bell, None
            self.poller.unregister(bell[0])
            for end in bell:
                os.close(end)


class Readers:
    """An event loop that is not told again what it knows: a socket that was closed it has been told to forget."""

    def __init__(self, loop: Any) -> None:
        self._loop = loop

    def add_reader(self, fd: int, callback: Callable[..., Any], *arguments: Any) -> None:
        if self._loop.readers.get(fd) != (callback, arguments):
            self._loop.add_reader(fd, callback, *arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)


def _waits(channel: Any) -> bool:
    """Whether all that a channel listens to is on its way to it already. A lost connection is none of these."""
    if channel.active_fanout_queues and not channel._in_listen:
        return False
    return bool(channel._in_poll) or not channel.active_queues
