"""What a process and all that it has started take: processor time and memory, from /proc.

Elsewhere than on Linux only this process and what of its children has ended is known.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Mapping
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
        root = os.getpid()
        told = (PROC / str(root) / "task" / str(root) / "children").exists()  # not by every kernel
        found = _tree(root) if told else _of_tree(_all(), root) if PROC.is_dir() else []
        usage = Usage(sum(one.seconds for one in found), sum(one.pages for one in found) * _PAGE, len(found))
        usage = usage if found else _own()
        self._most = max(self._most, usage.cpu_seconds)
        return Usage(self._most, usage.memory_bytes, usage.processes)


def _tree(root: int) -> list[_Stat]:
    """A process and all that descend from it, each asked for its children: a look at all that run on a machine takes
    as long as there are many, and the process that looks does nothing else meanwhile."""
    found, left = [], [root]
    while left:
        pid = left.pop()
        if stat := _stat(pid):
            found.append(stat)
        for thread in _threads(pid):
            with suppress(OSError):  # it has just ended
                left += map(int, (thread / "children").read_text().split())
    return found


def _threads(pid: int) -> list[Path]:
    """None of a process that ends meanwhile."""
    with suppress(OSError):
        return list((PROC / str(pid) / "task").iterdir())
    return []


def _of_tree(found: Mapping[int, _Stat], root: int) -> list[_Stat]:
    children: dict[int, list[int]] = {}
    for pid, stat in found.items():
        children.setdefault(stat.parent, []).append(pid)
    members, left = [root], [root]
    while left:
        born = children.get(left.pop(), [])
        members += born
        left += born
    return [found[pid] for pid in members if pid in found]


def _all() -> dict[int, _Stat]:
    """Every process that may be seen."""
    pids = (int(folder.name) for folder in PROC.iterdir() if folder.name.isdecimal())
    return {pid: stat for pid in pids if (stat := _stat(pid))}


def _stat(pid: int) -> _Stat | None:
    """Its time includes that of children it has waited for. None: it has just ended."""
    with suppress(OSError, ValueError, IndexError):
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        return _Stat(int(fields[1]), sum(map(int, fields[11:15])) / _TICKS, int(fields[21]))
    return None


def _own() -> Usage:
    own, ended = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    seconds = own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime
    unit = 1 if sys.platform == "darwin" else 1024
    return Usage(seconds, own.ru_maxrss * unit, 1)
