"""Kills one kind of process after another, and measures how long it takes until the work goes on, seen from outside."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

RECOVERY_SECONDS = 300.0
"""Work that has not gone on after so long will not."""
PATIENCE_SECONDS = 90.0
PAUSE_SECONDS = (0.5, 2.5)


@dataclass(frozen=True, slots=True)
class Kill:
    """`recovery` is in seconds: until work that came after the kill was done; None where that did not come."""

    kind: str
    pid: int
    at: float
    recovery: float | None


class Aim(Protocol):
    """One strike of the killer."""

    def kill(self, kind: str) -> int:
        """SIGKILL one process of a kind; its PID, 0 where there is none."""
        ...

    def works(self, kind: str) -> bool:
        """Whether work that came after this strike has been done, of the sort that this kind is needed for."""
        ...


class Target(Protocol):
    """A system to be killed."""

    @property
    def kinds(self) -> Sequence[str]: ...

    def aim(self, dice: random.Random) -> Aim:
        """Get ready for the next strike."""
        ...


class Killer:
    """Works in a thread until `join`, or for `most` rounds; every kind in turn, and after each round two at once.

    The next strike comes when work goes on after the one before, or after `patience` seconds.
    """

    def __init__(
        self, target: Target, seed: int, *, patience: float = PATIENCE_SECONDS, most: int | None = None
    ) -> None:
        self._target, self._dice, self._patience, self._most = target, random.Random(seed), patience, most
        self._watching: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.kills: list[Kill] = []
        self.rounds = 0
        self.stop = threading.Event()

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        self.stop.set()
        self._thread.join()
        for thread in self._watching:
            thread.join()

    def _run(self) -> None:
        while not self.stop.is_set() and self.rounds != self._most:
            kinds = list(self._target.kinds)
            self._dice.shuffle(kinds)
            for kind in kinds:
                self._strike(kind)
            self._strike(*self._dice.sample(list(self._target.kinds), 2))
            self.rounds += 1

    def _strike(self, *kinds: str) -> None:
        self.stop.wait(self._dice.uniform(*PAUSE_SECONDS))
        if self.stop.is_set():
            return
        aim, at = self._target.aim(self._dice), time.time()
        pids = {kind: pid for kind in kinds if (pid := aim.kill(kind))}
        watching = threading.Thread(target=self._watch, args=(aim, pids, at), daemon=True)
        watching.start()
        watching.join(self._patience)
        self._watching.append(watching)

    def _watch(self, aim: Aim, pids: Mapping[str, int], at: float) -> None:
        for kind, pid in pids.items():
            self.kills.append(Kill(kind, pid, at, _recovery(aim, kind, at)))


def _recovery(aim: Aim, kind: str, at: float) -> float | None:
    while time.time() - at < RECOVERY_SECONDS:
        if aim.works(kind):
            return time.time() - at
        time.sleep(0.02)
    return None
