"""Attempts to get in that failed, counted per address: nobody tries keys without end, and nobody fills the log."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

MOST = 20
"""Failures of one address within a window before it has to wait for the window's end."""
WINDOW_SECONDS = 60.0
_ADDRESSES = 10_000


class Failures:
    """Counts in windows of a minute, of the newest ten thousand addresses."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def wait(self, address: str) -> float:
        """Seconds until this address may try again; 0 where it may now."""
        began, count = self._counts.get(group(address), (0.0, 0))
        return max(0.0, began + WINDOW_SECONDS - self._clock()) if count >= MOST else 0.0

    def add(self, address: str) -> int:
        """One more. Returns how many that makes in this window."""
        address, now = group(address), self._clock()
        began, count = self._counts.pop(address, (now, 0))
        if now - began >= WINDOW_SECONDS:
            began, count = now, 0
        self._counts[address] = began, count + 1
        if len(self._counts) > _ADDRESSES:
            self._counts.popitem(last=False)
        return count + 1


def group(address: str) -> str:
    """What counts as one: an IPv4 address, or the /64 of IPv6 that one customer has."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, 64), strict=False))
