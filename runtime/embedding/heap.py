"""Memory that a model's passes leave behind goes back to the system now and then.

Each pass has other sizes, so what is free between two of them is in pieces, which glibc keeps: 60 to 180 MB in a worker
of torch in fp32. To have it give every block back at once would cost a quarter more processor time.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from functools import cache
from types import TracebackType

EVERY_SECONDS = 1.0
"""Of computing. Giving back takes 3 ms each time, and 14 ms where 180 MB have gathered."""


class Heap:
    """A block of `with` is a pass. `give_back` is called behind one, when `every` seconds were computed since."""

    def __init__(
        self,
        give_back: Callable[[], object] | None = None,
        clock: Callable[[], float] = time.perf_counter,
        every: float = EVERY_SECONDS,
    ) -> None:
        self._give_back, self._clock, self._every = give_back or trim, clock, every
        self._computed = self._begun = 0.0

    def __enter__(self) -> None:
        self._begun = self._clock()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._computed += self._clock() - self._begun
        if self._computed >= self._every:
            self._computed = 0.0
            self._give_back()


def trim() -> bool:
    """Give back what is free; whether there was anything. Nothing happens where the C library is not glibc."""
    found = _malloc_trim()
    return bool(found(0)) if found is not None else False


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return None
