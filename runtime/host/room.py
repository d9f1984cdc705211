"""Whether a disk is full, which is why a broker or a store ends that cannot say so itself."""

from __future__ import annotations

import shutil
from pathlib import Path

NONE_BYTES = 32 * 2**20
"""With less than this nothing can be expected to work."""


def missing(folder: Path) -> str:
    """A sentence where hardly anything is free on the disk of `folder`; empty elsewhere, and where nobody can tell."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return ""
    if free >= NONE_BYTES:
        return ""
    return f"Only {free // 2**20} MiB are free on the disk of {folder}: make room, and it goes on by itself."
