"""The items of one call for the caller who waits for them: read as they are written, until the call has ended."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

from runtime.attempts.items import Item, decode
from runtime.broker import scripts
from runtime.broker.connection import translated
from runtime.errors import BrokerDown, TundishError

if TYPE_CHECKING:
    from gateway.state import Gateway

PAGE = 500
LOOK_SECONDS = 1.0
"""Pub/sub may drop a message, so the stream is read this often anyway; it also says that the caller is there."""


class BrokenOff(TundishError):
    """The rest of a stream cannot be had."""


class TimeOver(TundishError):
    """The caller's time was over before the call had ended."""


class ItemFeed:
    """What a waiting caller has been given so far, and what comes next."""

    def __init__(self, gateway: Gateway, task_id: str, wake: asyncio.Event, until: float) -> None:
        """`until` is on the monotonic clock; `wake` is set when something was written."""
        self._gateway, self._task_id, self._wake, self._until = gateway, task_id, wake, until
        self._entry = "0-0"
        self._attempt: int | None = None
        self.taken = 0
        """How many items it has been given."""

    async def pages(self) -> AsyncGenerator[list[Item], None]:
        """Items, in order. Ends with the call. Raises BrokenOff, TimeOver."""
        while True:
            ended, page = await self._read(PAGE)
            if page:
                self._follow(page)
                yield page
                continue
            if ended:
                return
            await self._pause()

    async def be_there(self) -> None:
        """Tell the generator, over and over, that its caller is there: one who reads slowly is not gone."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self._read(0)

    def _follow(self, page: list[Item]) -> None:
        """An attempt that began anew cannot go on for one whose items were sent: they may be others."""
        for item in page:
            if self._attempt not in (None, item.attempt):
                raise BrokenOff(
                    f"The worker that ran the call was lost after {self.taken} items, and the call began anew: "
                    "what was sent cannot be continued. It was stopped; call it again."
                )
            if item.number != self.taken + 1:
                raise BrokenOff(f"Items after the first {self.taken} are gone from the broker. Call it again.")
            self._attempt, self._entry, self.taken = item.attempt, item.id, item.number

    async def _read(self, most: int) -> tuple[bool, list[Item]]:
        given: list[scripts.Argument] = [self._task_id, self._entry, self.taken, most]
        try:
            with translated():
                answer: Any = await scripts.run_async(self._gateway.redis, "items_read", (), given)
        except BrokerDown:  # it may come back: the time that the caller has bounds this
            return False, []
        return bool(answer[1]), [decode(entry) for entry in answer[2]]

    async def _pause(self) -> None:
        if self._gateway.streams.over:
            raise BrokenOff("The gateway is being stopped, and nobody else can go on with this answer. Call it again.")
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeOver
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), min(LOOK_SECONDS, left))
        self._wake.clear()
