"""How Qdrant holds 10⁹ chunks: memory, disk, nodes, and the time to take them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.scaling_inputs import value
from bench.scaling_sums import CHUNKS, DIMENSIONS, GB, MONTH_HOURS

_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Layout:
    """How Qdrant holds 10⁹ chunks: bytes of memory and of disk for each."""

    title: str
    each_memory: Callable[[], float]
    each_disk: Callable[[], float]

    @property
    def memory(self) -> float:
        return CHUNKS * self.each_memory()

    @property
    def disk(self) -> float:
        return CHUNKS * self.each_disk()

    def nodes(self, copies: int) -> int:
        """With a fifth of each node's memory for itself and for files that are read again."""
        return math.ceil(copies * self.memory / (0.8 * value("node_memory")))

    def seconds(self, copies: int) -> float:
        """To put all points into the graph on so many nodes."""
        return copies * CHUNKS / (self.nodes(copies) * value("node_indexed"))

    def price(self, copies: int) -> float:
        """Of the nodes' memory, for a month."""
        return self.nodes(copies) * value("node_memory") / GB * value("memory_price") * MONTH_HOURS


def _compressed() -> float:
    return DIMENSIONS + value("graph_bytes")


LAYOUTS: Sequence[Layout] = (
    Layout(
        "all in memory",
        lambda: DIMENSIONS * 4 * value("ram_factor") + value("own_memory"),
        lambda: value("disk_float"),
    ),
    Layout(
        "`quantization: int8`, `on_disk: true`",
        lambda: _compressed() + value("own_memory_disk"),
        lambda: value("disk_int8"),
    ),
)
