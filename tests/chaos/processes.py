"""The processes of a running system, found in /proc: nothing of the system itself is asked."""

from __future__ import annotations

import contextlib
import os
import random
import signal
from dataclasses import dataclass
from pathlib import Path

KINDS = ("worker child", "gateway", "worker parent", "beat", "broker", "triggers")


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    parent: int
    argv: tuple[str, ...]


def running() -> list[Process]:
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError):  # it has just ended
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            argv = (folder / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
            found.append(Process(int(folder.name), parent, tuple(argv)))
    return found


def of_kind(kind: str, supervisor: int, queue: str) -> list[int]:
    """The PIDs of one kind; `queue` names the worker that is meant."""
    everybody = running()
    ours = [one for one in everybody if one.parent == supervisor]
    workers = [one.pid for one in ours if "runtime.worker" in one.argv and queue in one.argv]
    if kind == "worker parent":
        return workers
    if kind == "worker child":
        return [one.pid for one in everybody if one.parent in workers]
    if kind == "broker":
        leashes = [one.pid for one in ours if "runtime.leash" in one.argv]
        return [one.pid for one in everybody if one.parent in leashes and "valkey" in one.argv[0]]
    module = {"gateway": "gateway", "beat": "triggers.beat", "triggers": "triggers"}[kind]
    return [one.pid for one in ours if module in one.argv]


def kill(kind: str, supervisor: int, queue: str, dice: random.Random) -> int:
    """SIGKILL one process of a kind; its PID, 0 where there is none."""
    pids = of_kind(kind, supervisor, queue)
    if not pids:
        return 0
    pid = dice.choice(pids)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return pid
