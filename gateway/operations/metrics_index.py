"""What this gateway says of the indexes that it answers from, for `/metrics`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.metrics_core import Metric

from runtime.metrics.exposition import counter, gauge, histogram
from runtime.urgency import level_of

if TYPE_CHECKING:
    from gateway.state import Gateway


class Told:
    """Versions, swaps and searches of one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def collect(self) -> Iterator[Metric]:
        versions = self._gateway.indexes.versions()
        generations = {name: one.generation for name, one in versions.items()}
        yield gauge("celery_faiss_index_version", "Generation that this gateway answers from.", "index", generations)
        vectors = {name: one.vectors for name, one in versions.items()}
        yield gauge("tundish_index_vectors", "Vectors in that generation.", "index", vectors)
        sizes = {name: one.bytes for name, one in versions.items()}
        yield gauge("tundish_index_bytes", "Its bytes in the store.", "index", sizes)
        levels = {name: level_of(one) for name, one in versions.items()}
        text = "How near it is to what one machine should hold: 0 to 100."
        yield gauge("tundish_index_urgency", text, "index", levels)
        published = {name: one.created for name, one in versions.items()}
        text = "When it was published, in seconds since the epoch."
        yield gauge("tundish_index_published_timestamp_seconds", text, "index", published)
        times = self._gateway.search_times
        yield counter("tundish_index_swaps", "Generations that this gateway took over.", "index", times.swaps)
        text = "Time of a search, without the embedding of its text."
        yield histogram("tundish_search_seconds", text, "index", times.spent)
