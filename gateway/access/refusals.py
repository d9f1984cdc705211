"""Requests that were refused for who sent them, counted by why: told in gateway/operations/metrics.py."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

Why = Literal["no_key", "wrong_key", "too_often", "not_allowed"]
"""`wrong_key`: also a notification without the right token or signature. `too_often`: unseen, as the address had failed
too often. `not_allowed`: the key is good, and its role, tenant or functions do not reach so far."""


class Refusals:
    """The counts of one gateway. Written by its event loop alone."""

    def __init__(self) -> None:
        self.counts: Counter[Why] = Counter({"no_key": 0, "wrong_key": 0, "too_often": 0, "not_allowed": 0})

    def collect(self) -> Iterator[Metric]:
        from runtime.metrics.exposition import counter  # for a scrape only

        text = "Requests that were refused for who sent them."
        yield counter("tundish_gateway_refused_total", text, "reason", dict(self.counts))
