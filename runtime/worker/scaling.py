"""More or fewer calls at once in a worker that goes on working: what `tundish scale` asks for.

Celery's own `pool_shrink` gives up where every process is busy. This one takes no more messages than the new size is
good for, and ends a process whenever one has nothing to do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

COMMAND = "tundish_scale"
"""What a worker is told by Celery's remote control (runtime/worker/celery_worker.py)."""

_AGAIN_SECONDS = 0.2


class Scaling:
    """One per worker; `tell` is called with every new size. The worker's own thread uses it."""

    def __init__(self, tell: Callable[[int], None]) -> None:
        self._tell = tell
        self._wanted: int | None = None

    def to(self, consumer: Any, size: int) -> tuple[int, int]:
        """Begin to run so many calls at once; the size before and after."""
        before = consumer.pool.num_processes if self._wanted is None else self._wanted
        self._wanted = size
        if size != before:
            consumer._update_qos_eventually(size - before)
        self._step(consumer)
        return before, size

    def _step(self, consumer: Any) -> None:
        pool, wanted = consumer.pool, self._wanted or 1
        if wanted > pool.num_processes:
            pool.grow(wanted - pool.num_processes)
        while pool.num_processes > wanted:
            try:
                pool.shrink(1)
            except ValueError:  # all of them are busy
                consumer.timer.call_after(_AGAIN_SECONDS, self._step, (consumer,))
                return
        consumer.initial_prefetch_count = pool.num_processes * consumer.prefetch_multiplier
        self._tell(wanted)
