"""Texts of functions that can be written down: a lone surrogate has no encoding, and os.listdir makes such texts."""

from __future__ import annotations

import json
from typing import Any

_SURROGATE = b"\\ud"
"""How JSON in ASCII escapes one; pairs, which stand for one character, begin so, too."""


def legible(text: str) -> str:
    """The same, with lone surrogates as they are escaped in Python (`\\ud800`)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text


def loads(raw: bytes) -> Any:
    """What JSON says, with `?` in place of every lone surrogate."""
    found = json.loads(raw)
    if _SURROGATE in raw:
        return json.loads(json.dumps(found, ensure_ascii=False).encode("utf-8", "replace"))
    return found
