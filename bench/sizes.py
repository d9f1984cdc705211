"""Sizes as people write them on a command line."""

from __future__ import annotations


def sizes(text: str) -> list[int]:
    """`10k,1m,2.5k,300` in plain numbers."""
    units = {"k": 1000, "m": 1_000_000}
    return [int(float(word.rstrip("km")) * units.get(word[-1], 1)) for word in text.lower().split(",")]
