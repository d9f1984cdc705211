"""Kombu's poller of Redis connections, with a bell. It waits on sockets only; an acknowledgement in memory is none."""

from __future__ import annotations

import contextlib
import os
from typing import Any

from kombu.transport.redis import MultiChannelPoller


class Poller(MultiChannelPoller):  # type: ignore[misc]
    """Kombu's poller with a bell: without an event loop it would sleep on while a pool makes room."""

    _bell: tuple[int, int] | None = None

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
