"""Which language a text is in."""

from __future__ import annotations

import functools
from typing import Any

SAMPLE = 1000
"""Characters that are looked at: the language of a document is that of its beginning."""

SURE = 0.95
"""How sure CLD3 must be of what CLD2 does not know. Of 26 English docstrings it was right about six of the eight of
which it was surer, and about none of the others."""

_TODAY = {"iw": "he", "jw": "jv", "tl": "fil", "zh-Hant": "zh"}
"""Codes that were withdrawn, and one that only one of the two libraries knows."""


@functools.cache
def _fast() -> Any:
    """CLD2, where there is a wheel of it: a seventh of CLD3's time, and it is right about more sentences."""
    try:
        import pycld2
    except ImportError:
        return None
    return pycld2


@functools.cache
def _identifier() -> Any:
    import gcld3

    return gcld3.NNetLanguageIdentifier(min_num_bytes=20, max_num_bytes=SAMPLE)


def guess(text: str) -> tuple[str, float]:
    """The language (BCP 47: de, zh, ru-Latn) and how sure that is, from 0 to 1; empty and 0 where nothing is clear."""
    found = _identifier().FindLanguage(text=_sample(text))
    return (_TODAY.get(found.language, found.language), found.probability) if found.is_reliable else ("", 0.0)


def language_of(text: str) -> str:
    """The language of a text, empty where that is not clear (too short, mixed, no prose)."""
    if found := _fast_guess(_sample(text)):
        return found
    language, sure = guess(text)
    return language if sure >= SURE or _fast() is None else ""


def _fast_guess(sample: str) -> str:
    """What CLD2 says; nothing where it is not sure, as of a few words of Chinese."""
    cld2 = _fast()
    if cld2 is None:
        return ""
    try:
        clear, _, found = cld2.detect(sample)
    except cld2.error:  # it takes nothing that is not written down: control characters, noncharacters
        clear, _, found = cld2.detect("".join(one if one.isprintable() else " " for one in sample))
    code = found[0][1] if clear else ""
    # A script of one language alone is xx-..., and a few of its languages are jokes: zz...
    return "" if code[:2] in ("un", "xx", "zz") else _TODAY.get(code, code)


def _sample(text: str) -> str:
    return text[:SAMPLE].encode(errors="replace").decode()
