"""What a running system takes, process by process, and what its broker holds."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from bench.memory import family, open_files

_PROC = Path("/proc")
_KINDS = (
    (r"runtime\.worker.* -Q (\S+)", "worker {}"),
    (r"-m (?:runtime\.)?embedding\S*|embedder", "embedder"),
    (r"-m gateway", "gateway"),
    (r"triggers\.beat", "beat"),
    (r"-m triggers", "triggers"),
    (r"valkey|redis-server", "broker"),
    (r"\bweed\b", "store"),
    (r" up\b", "supervisor"),
)


@dataclass(frozen=True, slots=True)
class Taken:
    """By one kind of process, all of them together. Bytes; `pss`: shared pages are divided among who shares them."""

    pss: int = 0
    rss: int = 0
    files: int = 0
    threads: int = 0
    processes: int = 0


def look(root: int) -> dict[str, Taken]:
    """Every process that descends from `root`, by what it is."""
    found: dict[str, Taken] = {}
    for pid in family(root):
        with contextlib.suppress(OSError, IndexError):  # it has ended
            told = (_PROC / str(pid) / "smaps_rollup").read_text()
            status = (_PROC / str(pid) / "status").read_text()
            kind, threads = _kind(pid), int(status.partition("Threads:")[2].split()[0])
            so_far = found.get(kind, Taken())
            found[kind] = Taken(
                so_far.pss + _kilobytes(told, "Pss"),
                so_far.rss + _kilobytes(told, "Rss"),
                so_far.files + open_files(pid),
                so_far.threads + threads,
                so_far.processes + 1,
            )
    return found


def held(client: redis.Redis) -> Mapping[str, int]:
    """Bytes, keys and clients of the broker."""
    memory: Any = client.info("memory")
    clients: Any = client.info("clients")
    return {"bytes": memory["used_memory"], "keys": int(client.dbsize()), "clients": clients["connected_clients"]}


def _kind(pid: int) -> str:
    words = (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    for pattern, name in _KINDS:
        if match := re.search(pattern, words):
            return name.format(*match.groups())
    return "others"


def _kilobytes(text: str, name: str) -> int:
    match = re.search(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE)
    return int(match[1]) * 1024 if match else 0
