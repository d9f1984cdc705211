"""One event loop for each thread that runs coroutines, kept from call to call.

What a `setup` has made in it (a session, a pool of connections) works in the calls that follow. As with
`asyncio.run`, no task of a call outlives it.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


class _Kept:
    """The loop of one thread and process; closed when the thread ends. A child must not touch its parent's."""

    def __init__(self) -> None:
        self.pid, self.loop = os.getpid(), asyncio.new_event_loop()

    def __del__(self) -> None:
        if self.pid == os.getpid() and not self.loop.is_running():
            self.loop.close()


class AsyncLoop:
    """Runs awaitables to their end, in the loop of whatever thread asks."""

    def __init__(self) -> None:
        self._threads = threading.local()

    def run(self, awaitable: Awaitable[T]) -> T:
        """What it comes to; raises what it raises. Tasks that it leaves behind are cancelled."""
        kept: _Kept | None = getattr(self._threads, "kept", None)
        if kept is None or kept.pid != os.getpid():
            kept = self._threads.kept = _Kept()
        loop = kept.loop
        before = asyncio.all_tasks(loop)
        asyncio.set_event_loop(loop)
        try:
            return loop.run_until_complete(_awaited(awaitable))
        finally:
            # Its own task is among them where a time limit was raised in the loop itself.
            left = asyncio.all_tasks(loop) - before
            for task in left:
                task.cancel()
            if left:
                loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            asyncio.set_event_loop(None)


async def _awaited(awaitable: Awaitable[T]) -> T:
    return await awaitable
