"""The lines of the dispatch benchmark: JSON, printed as soon as each is known, and kept for the picture."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from typing import Any

TARGETS = {
    "sync_p50": "ratio <= 0.5",
    "async_vs_flower": "ratio >= 10",
    "async_vs_celery_enqueue": "ratio >= 1.5",
    "completed_vs_celery": "ratio >= 2.0",
    "completed_vs_taskiq": "ratio >= 1.0",
    "gathered_vs_celery": "ratio >= 10",
    "p99_at_half_load": "ratio <= 3",
    "clients_256_errors": "0",
}
"""What is aimed at."""


def share(values: Sequence[float], part: float) -> float:
    """A percentile."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


class Lines:
    """`fsync` is how the broker writes to disk just now; names of numbers say so where it is not `always`."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.fsync = "always"

    def tell(
        self,
        metric: str,
        ours: Sequence[float],
        unit: str,
        peer: Sequence[float] = (),
        peer_name: str = "",
        **more: Any,
    ) -> None:
        """The median of ours and of the peer, their ratio, and the spread of both (5 % to 95 %)."""
        name = metric if self.fsync == "always" else f"{metric}_{self.fsync}"
        line: dict[str, Any] = {"metric": name, "ours": _short(statistics.median(ours)), "unit": unit}
        if peer:
            theirs = statistics.median(peer)
            line |= {"peer": _short(theirs), "peer_name": peer_name}
            line |= {"ratio": _short(statistics.median(ours) / theirs) if theirs else None}
        line |= {"spread": [_short(share(ours, part)) for part in (0.05, 0.95)], "n": len(ours)}
        if peer:
            line["peer_spread"] = [_short(share(peer, part)) for part in (0.05, 0.95)]
        if metric in TARGETS:
            line["target"] = TARGETS[metric]
        line |= {"appendfsync": self.fsync, **more}
        self._keep(line)

    def missing(self, peer: str, why: str) -> None:
        """A peer that could not be measured is said to be missing, not left out."""
        self._keep({"metric": "missing", "peer_name": peer, "why": why})

    def _keep(self, line: dict[str, Any]) -> None:
        self.told.append(line)
        print(json.dumps(line), flush=True)


def _short(value: float) -> float:
    return float(f"{value:.4g}")
