"""Calls that come in floods."""

from __future__ import annotations


def tick(fails: bool = False) -> None:
    if fails:
        raise RuntimeError("as it was told")
