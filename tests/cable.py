"""A cable between a host and the switch whose ends are in this process: it can be slow, stall, and drop frames.

What `netem` does in a kernel that has it: every frame is read from a TAP device at one end, waits as long as the link
would have taken, and is written to the TAP at the other. TCP of both sides sees a link, not a proxy.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import struct
import threading
import time
from collections import deque
from pathlib import Path

DEVICE = Path("/dev/net/tun")
_SET_NAME = 0x400454CA  # TUNSETIFF of linux/if_tun.h
_TAP = 0x0002 | 0x1000  # IFF_TAP | IFF_NO_PI
_FRAME = 65536
_SOON = 0.05
"""Seconds after which the thread looks whether it is to end."""


def tap(name: str) -> int:
    """Make a TAP device in the network of the calling thread; its file descriptor."""
    end = os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(end, _SET_NAME, struct.pack("16sH22x", name.encode(), _TAP))
    return end


class _Way:
    """One direction: frames leave in the order in which they came."""

    def __init__(self, source: int, target: int) -> None:
        self.source, self.target = source, target
        self.frames: deque[tuple[float, bytes]] = deque()
        self.waiting = 0
        """Bytes of these frames."""
        self.free = 0.0
        """When the link has sent what it was given."""


class Cable(threading.Thread):
    """Carries frames between two TAPs; as fast as it can until it is told otherwise.

    `carried` and `dropped` are frames.
    """

    def __init__(self, near: int, far: int) -> None:
        super().__init__(daemon=True)
        self._ways = (_Way(near, far), _Way(far, near))
        self._delay, self._rate, self._room = 0.0, float("inf"), float("inf")
        self._over = threading.Event()
        self.carried = self.dropped = 0

    def slow(self, delay: float, rate: float, queue: float = 1.0) -> None:
        """Let every frame take `delay` seconds, each way, and `rate` bits a second pass.

        What would have to wait longer than `queue` seconds for its turn is dropped, as a router does.
        """
        self._delay, self._rate, self._room = delay, rate, rate * (delay + queue) / 8

    def stall(self, seconds: float) -> None:
        """Let nothing pass for so long. As much as fits in the queue comes afterwards, the rest is dropped."""
        until = time.monotonic() + seconds
        for way in self._ways:
            way.free = max(way.free, until)

    def run(self) -> None:
        sources = {way.source: way for way in self._ways}
        while not self._over.is_set():
            due = [way.frames[0][0] for way in self._ways if way.frames]
            wait = max(0.0, min([moment - time.monotonic() for moment in due] + [_SOON]))
            for end in select.select(list(sources), [], [], wait)[0]:
                self._take(sources[end])
            for way in self._ways:
                self._give(way)

    def close(self) -> None:
        """End; both devices are gone then."""
        self._over.set()
        self.join()
        for way in self._ways:
            os.close(way.source)

    def _take(self, way: _Way) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                frame = os.read(way.source, _FRAME)
                if way.waiting + len(frame) > self._room:
                    self.dropped += 1
                    continue
                way.free = max(way.free, time.monotonic()) + len(frame) * 8 / self._rate
                way.frames.append((way.free + self._delay, frame))
                way.waiting += len(frame)

    def _give(self, way: _Way) -> None:
        now = time.monotonic()
        while way.frames and way.frames[0][0] <= now:
            _, frame = way.frames.popleft()
            way.waiting -= len(frame)
            with contextlib.suppress(OSError):  # the device is down
                os.write(way.target, frame)
                self.carried += 1
