"""Whether the files of a segment can still be what they were.

A segment that was built here is opened from the page cache and is in the store as well, so it is not forced to disk,
which would take longer than building it. Nothing happens to it while this machine runs; after a crash of the machine
files may have holes, so each such segment is looked at once.
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache
from pathlib import Path

_MARK = ".not-on-disk"
_BOOT = Path("/proc/sys/kernel/random/boot_id")


def until_restart(folder: Path) -> None:
    """Say of files that were just written that they can be trusted for as long as this machine runs."""
    (folder / _MARK).write_text(_boot())


def marked(folder: Path) -> bool:
    """Whether that was said of files in this folder: then no other one need be forced to disk, either."""
    return (folder / _MARK).exists()


def lost(folder: Path) -> bool:
    """Whether the machine was started again since, so that every byte must be looked at."""
    try:
        return (folder / _MARK).read_bytes().decode() != (_boot() or None)
    except FileNotFoundError:
        return False


def renew(folder: Path) -> None:
    """Trust files that were looked at, from now on: they are forced to disk."""
    for path in [path for path in folder.iterdir() if path.name != _MARK and path.is_file()]:
        with path.open("rb") as file:
            os.fsync(file.fileno())
    (folder / _MARK).unlink(missing_ok=True)


@cache
def _boot() -> str:
    """Which start of this machine; empty where the system does not tell: then every segment is looked at once."""
    with suppress(OSError):
        return _BOOT.read_text().strip()
    return ""
