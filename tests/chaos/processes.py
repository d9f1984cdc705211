"""The processes of a running system, found in /proc: nothing of the system itself is asked."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path

KINDS = ("worker child", "gateway", "worker", "worker parent", "beat", "broker", "triggers")


_PATIENCE_SECONDS = 30.0


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
    shifts = [one.pid for one in everybody if one.parent in workers]
    if kind == "worker":  # what the parent has forked, and what the pool's children are children of
        return shifts
    if kind == "worker child":
        return [one.pid for one in everybody if one.parent in shifts]
    if kind == "broker":
        leashes = [one.pid for one in ours if "runtime.host.leash" in one.argv]
        return [one.pid for one in everybody if one.parent in leashes and "valkey" in one.argv[0]]
    module = {"gateway": "gateway", "beat": "triggers.beat", "triggers": "triggers"}[kind]
    return [one.pid for one in ours if module in one.argv]


def kill(kind: str, supervisor: int, queue: str, dice: random.Random) -> int:
    """SIGKILL one process of a kind, waiting for one that is just being started; its PID, 0 where there is none."""
    give_up = time.monotonic() + _PATIENCE_SECONDS
    while not (pids := of_kind(kind, supervisor, queue)):
        if time.monotonic() > give_up:
            return 0
        time.sleep(0.1)
    pid = dice.choice(pids)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return pid
