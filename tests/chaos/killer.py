"""Kills one kind of process after another, and measures how long it takes until the work goes on, seen from outside."""

from __future__ import annotations

import json
import random
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import urllib3

from tests.chaos import processes
from tests.chaos.journal import Journal
from tests.system import System

RECOVERY_SECONDS = 90.0
QUEUES = ("quick", "slow")


@dataclass(frozen=True, slots=True)
class Kill:
    """`recovery` is in seconds: until a new call was answered (triggers: an object was processed; beat: it ticked);
    None where that did not come."""

    kind: str
    pid: int
    at: float
    recovery: float | None


class Killer:
    """Works in a thread until `stop`; every kind in turn, and after each round two kinds at once."""

    def __init__(self, system: System, journal: Path, seed: int, *, pause: tuple[float, float] = (0.5, 2.5)) -> None:
        self._system, self._journal, self._dice, self._pause = system, journal, random.Random(seed), pause
        self._http = urllib3.PoolManager(maxsize=4, retries=False, timeout=urllib3.Timeout(2.0, read=20.0))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.kills: list[Kill] = []
        self.rounds = 0
        self.stop = threading.Event()

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        self.stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self.stop.is_set():
            kinds = list(processes.KINDS)
            self._dice.shuffle(kinds)
            for kind in kinds:
                self._strike(kind)
            self._strike(*self._dice.sample(processes.KINDS, 2))
            self.rounds += 1

    def _strike(self, *kinds: str) -> None:
        self.stop.wait(self._dice.uniform(*self._pause))
        if self.stop.is_set():
            return
        queue, at = self._dice.choice(QUEUES), time.time()
        since = Journal(self._journal)
        since.skip()
        pids = {kind: processes.kill(kind, self._system.process.pid, queue, self._dice) for kind in kinds}
        for kind, pid in pids.items():
            if pid:
                self.kills.append(Kill(kind, pid, at, self._recovery(kind, queue, at, since)))

    def _recovery(self, kind: str, queue: str, at: float, since: Journal) -> float | None:
        while time.time() - at < RECOVERY_SECONDS:
            if self._works(kind, queue, at, since):
                return time.time() - at
            time.sleep(0.02)
        return None

    def _works(self, kind: str, queue: str, at: float, since: Journal) -> bool:
        if kind == "beat":
            return self._ticked(at, since)
        return self._processed(at, since) if kind == "triggers" else self._answered(queue)

    def _answered(self, queue: str) -> bool:
        """A new call is answered. One that is left without an answer is no concern of ours: the next one is made."""
        try:
            headers = {"Content-Type": "application/json"}
            url = f"{self._system.url}/function/ping_{queue}"
            return self._http.request("POST", url, body=json.dumps({"number": -1}), headers=headers).status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def _ticked(self, at: float, since: Journal) -> bool:
        return any(line.function == "tick" and line.at > at for line in since.new())

    def _processed(self, at: float, since: Journal) -> bool:
        """An object that is dropped after the kill is processed."""
        key = f"recovery-{at:.6f}.txt"
        try:
            if self._http.request("PUT", f"{self._system.url}/buckets/chaos/{key}", body=b"?").status >= 300:
                return False
        except urllib3.exceptions.HTTPError:
            return False
        until = time.monotonic() + 20.0
        while time.monotonic() < until:
            if any(key in line.keys for line in since.new()):
                return True
            time.sleep(0.05)
        return False
