"""Keeps one index at its newest version, beside the requests."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from runtime.errors import TundishError

if TYPE_CHECKING:
    from gateway.state import Gateway
    from runtime.context import IndexVersion
    from runtime.index.announcement import Announcement

POLL_SECONDS = 5.0
BEHIND_SECONDS = 0.5
"""Between two looks while a version that was announced is not loaded yet."""

log = logging.getLogger("tundish.gateway")


class Follower:
    """Looks for a newer version when one is announced, and every few seconds: an announcement may be lost."""

    def __init__(self, gateway: Gateway, index: str) -> None:
        self.index = index
        self.trouble: str | None = None
        """Why the newest version could not be loaded, if so; the one before it still answers."""
        self._gateway = gateway
        self._announced: Announcement | None = None
        self._generation = 0
        """Of the version in use, as the last look left it."""
        self._heard = 0.0
        self._wake, self._looked = asyncio.Event(), asyncio.Event()
        self._loading: asyncio.Task[bool] | None = None

    @property
    def looked(self) -> bool:
        """Whether the first look has ended, however it ended."""
        return self._looked.is_set()

    async def first_look(self, seconds: float) -> None:
        """Wait for its end, but no longer than this."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._looked.wait()

    def hear(self, word: Announcement) -> None:
        """A version was announced; what is known already is a repetition for those who missed it."""
        earlier = self._announced
        if earlier and word.generation <= earlier.generation:
            return
        self._heard = time.monotonic()
        self._announced = word.joined(earlier) if earlier and earlier.generation > self._generation else word
        self._wake.set()

    async def run(self, wanted: Callable[[], bool]) -> None:
        """Load what is new for as long as the index is `wanted`."""
        while wanted():
            self._wake.clear()
            behind = await self._look()
            self._looked.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BEHIND_SECONDS if behind else POLL_SECONDS):
                    await self._wake.wait()

    async def _look(self) -> bool:
        """Load the newest version; whether an announced one is still missing."""
        version: IndexVersion | None = None
        began = time.time_ns()
        try:
            reader = await self._gateway.indexes.reader()
            changed = await self._gateway.in_thread(reader.refresh, self.index, self._announced)
        except (TundishError, OSError, ValueError) as error:
            if self.trouble != str(error):  # once, not every five seconds
                log.error("index %s: the newest version cannot be loaded: %s", self.index, error)
            self.trouble = str(error)
            return False
        self.trouble = None
        version = reader.version(self.index)
        if version:
            self._load_model(version.model)
        if changed:
            self._gateway.swaps.opened(self.index, version.generation if version else 0, began)
            self._gateway.search_times.swaps[self.index] += 1
            log.info("index %s: now answering from %s", self.index, version.version if version else "nothing")
        self._generation = version.generation if version else 0
        if self._announced is None or self._generation >= self._announced.generation:
            return False
        if time.monotonic() > self._heard + POLL_SECONDS:  # there is no such version: it must not hide the next word
            self._announced = None
            return False
        return True

    def _load_model(self, model: str) -> None:
        """Have the embedder load what queries will need, before there are any. One that is not there is asked again
        with the next look."""
        if self._loading is None or (self._loading.done() and not self._loading.result()):
            self._loading = asyncio.create_task(self._loaded(model))

    async def _loaded(self, model: str) -> bool:
        try:
            await self._gateway.embedder.load(model)
        except (TundishError, OSError) as error:
            log.debug("index %s: its model is not loaded: %s", self.index, error)
            return False
        return True
