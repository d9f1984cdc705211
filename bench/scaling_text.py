"""Amounts as the tables of docs/scaling.md have them: two or three digits that count, and a unit."""

from __future__ import annotations

from collections.abc import Sequence


def row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def amount(value: float) -> str:
    """270000 → 270,000; 1e9 → 10⁹ is for the text: here it is 1,000 million."""
    for unit, name in ((1e9, "thousand million"), (1e6, "million")):
        if value >= unit:
            return f"{_short(value / unit)} {name}"
    return _short(value)


def size(value: float) -> str:
    """Bytes, by thousands."""
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= unit:
            return f"{_short(value / unit)} {name}"
    return f"{_short(value)} B"


def duration(seconds: float) -> str:
    for unit, name in ((86400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * unit:
            return f"{_short(seconds / unit)} {name}"
    return f"{_short(seconds)} s"


def dollars(value: float) -> str:
    return f"${_short(value)}"


def _short(value: float) -> str:
    if value >= 1000:
        digits = len(str(int(value))) - 3
        return f"{round(value, -digits):,.0f}"
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"
