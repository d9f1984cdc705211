"""What a process and all that it has started take: processor time and memory, from /proc.

Elsewhere than on Linux only this process and what of its children has ended is known.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Usage:
    """`cpu_seconds` since the start, children that have ended included; `memory_bytes` and `processes` are of now."""

    cpu_seconds: float = 0.0
    memory_bytes: int = 0
    processes: int = 0


@dataclass(frozen=True, slots=True)
class _Stat:
    parent: int
    seconds: float
    pages: int


class Meter:
    """Measures this process's tree. Processor time never goes back, though a child may leave between two looks."""

    def __init__(self) -> None:
        self._most = 0.0

    def read(self) -> Usage:
        found = dict(_stats()) if PROC.is_dir() else {}
        usage = _of_tree(found, os.getpid()) if os.getpid() in found else _own()
        self._most = max(self._most, usage.cpu_seconds)
        return Usage(self._most, usage.memory_bytes, usage.processes)


def _of_tree(found: dict[int, _Stat], root: int) -> Usage:
    children: dict[int, list[int]] = {}
    for pid, stat in found.items():
        children.setdefault(stat.parent, []).append(pid)
    members, left = [root], [root]
    while left:
        born = children.get(left.pop(), [])
        members += born
        left += born
    stats = [found[pid] for pid in members]
    return Usage(sum(one.seconds for one in stats), sum(one.pages for one in stats) * _PAGE, len(stats))


def _stats() -> Iterator[tuple[int, _Stat]]:
    """Every process that may be seen. Its time includes that of children it has waited for."""
    for folder in PROC.iterdir():
        if folder.name.isdecimal():
            with suppress(OSError, ValueError, IndexError):  # it has just ended
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                seconds = sum(map(int, fields[11:15])) / _TICKS
                yield int(folder.name), _Stat(int(fields[1]), seconds, int(fields[21]))


def _own() -> Usage:
    own, ended = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    seconds = own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime
    unit = 1 if sys.platform == "darwin" else 1024
    return Usage(seconds, own.ru_maxrss * unit, 1)
