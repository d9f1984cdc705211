"""The replays of one trigger that this process works on, in between everything else that it does for the bucket."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import redis

from runtime import keys
from runtime.buckets.watch import Watch
from runtime.context import Store
from triggers.inbox import Inbox
from triggers.ledger import Ledger
from triggers.outgoing import Outgoing
from triggers.replay import LOOK_SECONDS, Replay
from triggers.replay_record import NotOurs, Record

MOST_WAITING = 250


class Replays:
    """Looks for jobs once a second and does a step of each when asked. Raises what Replay raises."""

    def __init__(
        self, client: redis.Redis, store: Store, ledger: Ledger, watch: Watch, inbox: Inbox, outgoing: Outgoing
    ) -> None:
        self._client, self._store, self._ledger, self._watch = client, store, ledger, watch
        self._inbox, self._outgoing = inbox, outgoing
        # What comes in meanwhile waits behind one more round of batches, and no more.
        self._most = min(watch.trigger.in_flight * watch.trigger.batch.max_items, MOST_WAITING)
        self._jobs: dict[str, Replay] = {}
        self._next = 0.0

    def step(self) -> float:
        """Returns the seconds until there is more to do (0: at once)."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + LOOK_SECONDS
            self._find()
        wait = LOOK_SECONDS
        for replay_id in list(self._jobs):
            waiting = len(self._inbox) + len(self._outgoing)
            room = self._most - waiting if waiting <= self._most // 2 else 0
            job = self._jobs.pop(replay_id)  # out of here with what it knows, if it fails
            with contextlib.suppress(NotOurs):
                wait = min(wait, job.step(room))
                self._jobs[replay_id] = job
        return wait

    def close(self) -> None:
        """Let other processes go on with them now."""
        while self._jobs:
            self._jobs.popitem()[1].close()

    def _find(self) -> None:
        found: Any = self._client.smembers(keys.replays(self._watch.name))
        for replay_id in {raw.decode() for raw in found} - set(self._jobs):
            record = Record(self._client, self._watch, replay_id)
            with contextlib.suppress(NotOurs):
                record.take()
                self._jobs[replay_id] = Replay(self._client, self._store, self._ledger, self._watch, record, self._hint)

    def _hint(self, key: str) -> None:
        if key not in self._outgoing:
            self._inbox.put(key, [])
