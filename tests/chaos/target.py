"""What the storm of calls kills, and how it sees that the work goes on."""

from __future__ import annotations

import json
import random
import time

import urllib3

from tests.chaos import processes
from tests.chaos.journal import Journal
from tests.system import System

_QUEUES = ("quick", "slow")


class Calls:
    """A system over tests/samples/chaos. Work goes on when a new call was answered; after a kill of beat, when it
    ticked; after one of the triggers, when a new object was processed."""

    kinds = processes.KINDS

    def __init__(self, system: System) -> None:
        self._system = system
        self._http = urllib3.PoolManager(maxsize=4, retries=False, timeout=urllib3.Timeout(2.0, read=20.0))

    def aim(self, dice: random.Random) -> CallsAim:
        return CallsAim(self._system, self._http, dice)


class CallsAim:
    def __init__(self, system: System, http: urllib3.PoolManager, dice: random.Random) -> None:
        self._system, self._http, self._dice = system, http, dice
        self._queue, self._at = dice.choice(_QUEUES), time.time()
        self._since = Journal(system.folder / "journal")
        self._since.skip()

    def kill(self, kind: str) -> int:
        return processes.kill(kind, self._system.process.pid, self._queue, self._dice)

    def works(self, kind: str) -> bool:
        if kind == "beat":
            return any(line.function == "tick" and line.at > self._at for line in self._since.new())
        return self._processed() if kind == "triggers" else self._answered()

    def _answered(self) -> bool:
        """A new call is answered. One that is left without an answer is no concern of ours: the next one is made."""
        try:
            headers = {"Content-Type": "application/json"}
            url = f"{self._system.url}/function/ping_{self._queue}"
            return self._http.request("POST", url, body=json.dumps({"number": -1}), headers=headers).status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def _processed(self) -> bool:
        """An object that is dropped after the kill is processed."""
        key = f"recovery-{self._at:.6f}.txt"
        try:
            if self._http.request("PUT", f"{self._system.url}/buckets/chaos/{key}", body=b"?").status >= 300:
                return False
        except urllib3.exceptions.HTTPError:
            return False
        until = time.monotonic() + 20.0
        while time.monotonic() < until:
            if any(key in line.keys for line in self._since.new()):
                return True
            time.sleep(0.05)
        return False
