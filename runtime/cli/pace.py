"""How fast a call is and how long it will still take, as a person reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def pace(report: Mapping[str, Any]) -> str:
    """Of a report of progress: `250/s, 5 min left`; empty where it does not say."""
    speed, left = report.get("per_second"), report.get("seconds_left")
    parts = [f"{speed:.3g}/s" if speed < 100 else f"{speed:.0f}/s"] if speed else []
    return ", ".join(parts + ([f"{_rough(left)} left"] if left is not None else []))


def _rough(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
