"""How many entries of a ledger are in each state, counted page by page: memory and pauses do not grow with it."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import Any, get_args

import redis

from runtime.broker.connection import translated
from runtime.buckets import entry
from runtime.buckets.entry import State
from runtime.buckets.watch import Watch

PAGE = 500


@dataclass(frozen=True, slots=True)
class Counted:
    """Entries by state (every state is named), when they were counted (seconds since the epoch), and how long it took.

    Other processes go on writing meanwhile: what changed its state in between may be counted under either.
    """

    states: dict[str, int]
    at: float
    took: float


def count(client: redis.Redis, watch: Watch) -> Counted:
    """Read the whole ledger once; a million entries take some seconds, so not in an event loop. Raises BrokerDown."""
    began, found, cursor = time.monotonic(), Counter[str](), 0
    with translated():
        while True:
            page: Any
            cursor, page = client.hscan(watch.ledger, cursor, count=PAGE)
            found.update(state for raw in page.values() if (state := entry.state_of(raw)))
            if not cursor:
                break
    states = {state: found[state] for state in get_args(State)}
    return Counted(states, time.time(), time.monotonic() - began)
