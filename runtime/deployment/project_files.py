"""The files of a project that can hold code, and when they and the installed libraries changed last."""

from __future__ import annotations

import contextlib
import os
import sysconfig
from pathlib import Path

IGNORED = frozenset({"venv", "node_modules", "__pycache__", "build", "dist"})
_MOST_FOLDERS = 2000

Listing = dict[Path, tuple[int, int, int]]
"""The time of change in ns, the size and the inode of every file."""


def folders(root: Path, home: Path) -> list[Path]:
    """The folders of a project that can hold code, without hidden ones, environments and the state folder."""
    result = []
    for folder, below, _ in os.walk(root):
        here = Path(folder)
        result.append(here)
        below[:] = [n for n in below if n not in IGNORED and not n.startswith(".") and here / n != home]
        if len(result) == _MOST_FOLDERS:
            break
    return result


def listing(root: Path, file: Path, home: Path) -> Listing:
    """functions.yaml (`file`) and all Python files of the project as they are now."""
    result: Listing = {}
    for path in [path for folder in folders(root, home) for path in folder.glob("*.py")] + [file]:
        with contextlib.suppress(OSError):
            found = path.stat()
            result[path.resolve()] = found.st_mtime_ns, found.st_size, found.st_ino
    return result


def different(before: Listing, now: Listing) -> set[Path]:
    """Files that came, changed or went."""
    return {path for path in {*before, *now} if before.get(path) != now.get(path)}


def libraries() -> tuple[int, ...]:
    """Changes when a package is installed, updated or removed: pip renames things in these folders."""
    places = sorted({sysconfig.get_path(name) for name in ("purelib", "platlib")})
    result = []
    for place in places:
        with contextlib.suppress(OSError):
            result.append(Path(place).stat().st_mtime_ns)
    return tuple(result)
