"""What the bucket storm kills, and how it sees that the work goes on."""

from __future__ import annotations

import json
import random
import time

import urllib3

from tests.chaos import processes
from tests.chaos.buckets.clients import BUCKET, TROUBLE, connect, put
from tests.chaos.buckets.kept import Kept
from tests.chaos.buckets.store import Store
from tests.system import System

KINDS = (*processes.KINDS, "second triggers", "store")
_QUEUES = ("embedding", "work")
ASK_SECONDS = 0.2


class Documents:
    """A system over tests/samples/storm. Work goes on when an object that was dropped into the store after the kill
    is searchable, whatever was killed. `dropped` holds what was dropped so."""

    kinds = KINDS

    def __init__(self, system: System, store: Store, second: Kept) -> None:
        self.system, self.s3 = system, connect(store.settings)
        self.beside = {"store": store.kill, "second triggers": second.kill}
        self.http = urllib3.PoolManager(maxsize=4, retries=False, timeout=urllib3.Timeout(2.0, read=20.0))
        self.dropped: dict[str, bytes] = {}

    def aim(self, dice: random.Random) -> DocumentsAim:
        return DocumentsAim(self, dice)


class DocumentsAim:
    def __init__(self, target: Documents, dice: random.Random) -> None:
        self._target, self._dice = target, dice
        self._key = f"recovery-{time.time():.6f}.txt"
        self._queue = dice.choice(_QUEUES)

    def kill(self, kind: str) -> int:
        if kind in self._target.beside:
            return self._target.beside[kind]()
        return processes.kill(kind, self._target.system.process.pid, self._queue, self._dice)

    def works(self, kind: str) -> bool:
        time.sleep(ASK_SECONDS)  # several strikes may be looked after at once
        if self._key not in self._target.dropped and not self._drop():
            return False
        url = f"{self._target.system.url}/documents/{BUCKET}/{self._key}"
        try:
            answer = self._target.http.request("GET", url)
        except urllib3.exceptions.HTTPError:
            return False
        return answer.status == 200 and json.loads(answer.data).get("searchable") is True

    def _drop(self) -> bool:
        content = f"This was dropped as {self._key} after a kill.".encode()
        try:
            put(self._target.s3, self._key, content)
        except TROUBLE:
            return False
        self._target.dropped[self._key] = content
        return True
