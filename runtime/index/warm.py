"""Reading files ahead into the page cache: FAISS maps them for random access, which reads page by page otherwise."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

_BLOCK = 8 * 2**20
_SMALL = 16 * 2**20
"""Bytes of a file that pushes nothing out that is worth a look at the memory that is left."""

_MEMORY = Path("/proc/meminfo")


def read_ahead(paths: Sequence[Path], seconds: float = float("inf")) -> list[Path]:
    """Read files ahead, in their order; returns those that `seconds` were not enough for.

    A file that is larger than the memory that is left would only push out what the others need: it is passed over.
    """
    end = time.monotonic() + seconds
    for number, path in enumerate(paths):
        with suppress(OSError), path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if size > _SMALL and size > _available():
                continue
            for offset in range(0, size, _BLOCK):
                if time.monotonic() >= end:
                    return list(paths[number:])
                _read(file.fileno(), offset)
    return []


def _read(descriptor: int, offset: int) -> None:
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, offset, _BLOCK, os.POSIX_FADV_WILLNEED)
    else:
        os.pread(descriptor, _BLOCK, offset)


def _available() -> float:
    """Bytes that can be used without anything being swapped out; infinite where the system does not tell."""
    with suppress(OSError):
        if found := re.search(r"MemAvailable: +(\d+) kB", _MEMORY.read_text()):
            return int(found[1]) * 1024
    return float("inf")
