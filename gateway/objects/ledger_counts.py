"""The counts of all ledgers, taken beside the requests: one at a time, shared by who asks at the same time."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from runtime.buckets import ledger_count
from runtime.buckets.ledger_count import Counted
from runtime.buckets.watch import Watch

if TYPE_CHECKING:
    from gateway.state import Gateway

BUSY_SHARE = 0.05
"""The largest part of the time in which one ledger is being counted: that of a million entries takes seconds."""


class LedgerCounts:
    """Counts by ledger; one that took t seconds is good for 19 t seconds."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Counted, float]] = {}
        self._one = asyncio.Lock()

    async def of(self, gateway: Gateway, watch: Watch) -> Counted:
        """How many entries a ledger has in each state. Raises BrokerDown."""
        async with self._one:
            known = self._known.get(watch.ledger)
            if known is None or time.monotonic() >= known[1]:
                counted = await gateway.in_thread(ledger_count.count, gateway.sync_redis, watch)
                known = counted, time.monotonic() + counted.took * (1 - BUSY_SHARE) / BUSY_SHARE
                self._known[watch.ledger] = known
            return known[0]
