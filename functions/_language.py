"""Which language a text is in."""

from __future__ import annotations

import functools
from typing import Any

SAMPLE = 1000
"""Characters that are looked at: the language of a document is that of its beginning."""


@functools.cache
def _identifier() -> Any:
    import gcld3

    return gcld3.NNetLanguageIdentifier(min_num_bytes=20, max_num_bytes=SAMPLE)


def guess(text: str) -> tuple[str, float]:
    """The language (BCP 47: de, zh, ru-Latn) and how sure that is, from 0 to 1; empty and 0 where nothing is clear."""
    found = _identifier().FindLanguage(text=text[:SAMPLE].encode(errors="replace").decode())
    return (found.language, found.probability) if found.is_reliable else ("", 0.0)


def language_of(text: str) -> str:
    """The language of a text, empty where that is not clear (too short, mixed, no prose)."""
    return guess(text)[0]
