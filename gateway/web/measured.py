"""How long this gateway took to answer, by route, method and status: counted here, told in operations/metrics.py."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client.metrics_core import HistogramMetricFamily

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE"})


@dataclass(slots=True)
class _Times:
    """Answers by how long they took; the last count is of those that took longer than every bucket."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(_BUCKETS) + 1))
    seconds: float = 0.0


class Requests:
    """The measurements of one gateway. Written by its event loop alone."""

    def __init__(self) -> None:
        self._times: dict[tuple[str, str, str], _Times] = {}

    def observe(self, route: str, method: str, status: int, seconds: float) -> None:
        """Labels are bounded: routes are templates, unknown methods count as one."""
        labels = route, method if method in _METHODS else "other", str(status)
        times = self._times.get(labels)
        if times is None:
            times = self._times[labels] = _Times()
        times.counts[bisect_left(_BUCKETS, seconds)] += 1
        times.seconds += seconds

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """For Prometheus: each bucket counts what took at most so long."""
        from prometheus_client.metrics_core import HistogramMetricFamily  # for a scrape only

        name, text = "tundish_gateway_request_seconds", "Time to answer, by route, method and status."
        family = HistogramMetricFamily(name, text, labels=("route", "method", "status"))
        limits = [*map(str, _BUCKETS), "+Inf"]
        for labels, times in self._times.items():
            counts = [float(count) for count in accumulate(times.counts)]
            family.add_metric(labels, list(zip(limits, counts, strict=True)), times.seconds)
        yield family
