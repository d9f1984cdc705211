"""Turns of the model as short as a test wants them."""

from __future__ import annotations

import pytest

from functions import _rows


def turns_of(monkeypatch: pytest.MonkeyPatch, texts: int) -> None:
    """Give the model so many texts at once at most, however much time there is."""
    for name in ("LARGE", "SMALL"):
        monkeypatch.setattr(_rows, name, (texts, 2**16))
