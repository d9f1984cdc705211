"""What the parts of the dispatch benchmark share: the loads, how much of them, and all that runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from bench.dispatch_peers import Running

LOADS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "noop": ("noop", {}),
    "1k": ("size", {"data": "x" * 1000}),
    "100k": ("size", {"data": "x" * 100_000}),
    "cpu_10ms": ("burn", {}),
    "sleep_50ms": ("rest", {}),
}


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured; seconds of each load."""

    cells: Sequence[tuple[str, int]]
    """Load and number of clients."""
    fast_cells: Sequence[tuple[str, int]] = (("noop", 1), ("noop", 16))
    """The same once more with `appendfsync everysec`."""
    fast_counted: bool = True
    """So are accepted and completed calls."""
    rounds: int = 3
    seconds: float = 0.4
    share: float = 1.0
    """Of the calls that each is given where calls are counted."""
    gathered: int = 2000
    steady_seconds: float = 10.0
    """Of half load, and of many clients."""
    many: int = 256


FULL = Plan(
    [("noop", 1), ("noop", 16), ("noop", 256)]
    + [(load, clients) for load in LOADS if load != "noop" for clients in (1, 16)]
)
QUICK = Plan(
    [("noop", 1), ("noop", 16)],
    fast_cells=[("noop", 1)],
    fast_counted=False,
    rounds=2,
    seconds=0.3,
    share=0.25,
    gathered=1000,
    steady_seconds=2.0,
)


@dataclass(frozen=True, slots=True)
class House:
    """All that runs. `root`: our process that started the others; `gateway` and `worker`: those of our hot path."""

    ours: Running
    peers: Sequence[Running]
    broker: redis.Redis
    root: int
    gateway: int
    worker: int

    def peer(self, name: str) -> Running | None:
        return next((peer for peer in self.peers if peer.name == name), None)
