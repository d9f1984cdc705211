"""Writes the history (runtime/metrics/history.py), from what is kept anyway: no call has anything more to do for it.

Every `beat` process runs one. A line is named by its moment, so of several the first is kept.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Mapping, Sequence

import redis

from runtime import keys
from runtime.deployment.deployment import Deployment
from runtime.errors import BrokerDown
from runtime.invocations import recent, workload
from runtime.invocations.invocation import TERMINAL
from runtime.metrics import history
from runtime.metrics.history import EVERY_SECONDS, Line, Load, Spread, Work

MOST_EXAMINED = 400
"""Calls of each terminal state whose times are looked at for one line, the newest of them."""

_LATE_SECONDS = 0.05
_FAILED = ("failed", "dead", "expired")
_TIMES = ("function", "queued", "started", "ended")
log = logging.getLogger("tundish.sampler")

Totals = Mapping[str, Mapping[str, int]]


class Sampler:
    """One look every ten seconds. What ended is the difference of two looks at the totals, so it is exact."""

    def __init__(self, client: redis.Redis, deployment: Deployment) -> None:
        self._client, self._deployment = client, deployment
        self._totals: Totals | None = None

    def replace(self, deployment: Deployment) -> None:
        """After a reload."""
        self._deployment = deployment

    def run(self, stop: threading.Event) -> None:
        """Work until told to stop. While the broker is away no lines are written."""
        while True:
            try:
                self.step(math.floor(time.time() / EVERY_SECONDS) * EVERY_SECONDS)
            except (redis.RedisError, BrokerDown) as error:
                log.debug("no history was written: %s", error)
                self._totals = None  # what ended meanwhile did not end in the next ten seconds
            # A little late: a wait may end a moment early, and the line would be the one before.
            if stop.wait(EVERY_SECONDS - time.time() % EVERY_SECONDS + _LATE_SECONDS):
                return

    def step(self, at: float) -> Line | None:
        """Write the line of the ten seconds that ended `at`; the first look only takes the totals."""
        before, self._totals = self._totals, recent.totals(self._client)
        if before is None:
            return None
        times = self._times(at)
        line = Line(at, _functions(before, self._totals, times), self._queues())
        history.write(self._client, line)
        return line

    def _queues(self) -> dict[str, Load]:
        load = workload.read(self._client, self._deployment.settings.project)
        return {
            one.name: Load(sum(one.queued.values()) + one.parked, one.running, round(one.oldest or 0.0, 3))
            for one in load.queues
        }

    def _times(self, at: float) -> dict[str, list[Spread]]:
        """By function: (seconds that it waited, seconds that it ran) of calls that ended in these ten seconds."""
        first, last = int((at - EVERY_SECONDS) * 1000), int(at * 1000)
        with self._client.pipeline(transaction=False) as pipe:
            for state in sorted(TERMINAL):
                pipe.zrevrangebyscore(keys.ended(state), f"({last}", first, start=0, num=MOST_EXAMINED)
            ids = [task_id for found in pipe.execute() for task_id in found]
            for task_id in ids:
                pipe.hmget(keys.invocation(task_id.decode()), _TIMES)
            records: list[list[bytes | None]] = pipe.execute() if ids else []
        found: dict[str, list[Spread]] = {}
        for function, queued, started, ended in records:
            if function and queued and started and ended:
                waited, ran = int(started) - int(queued), int(ended) - int(started)
                found.setdefault(function.decode(), []).append((max(0, waited) / 1000, max(0, ran) / 1000))
        return found


def _functions(before: Totals, now: Totals, times: Mapping[str, Sequence[Spread]]) -> dict[str, Work]:
    found = {}
    for name, states in now.items():
        known = before.get(name, {})
        # A database that was emptied begins again at 0.
        fresh = {state: max(0, count - known.get(state, 0)) for state, count in states.items()}
        if any(fresh.values()) or name in times:
            measured = times.get(name, ())
            found[name] = Work(
                fresh.get("succeeded", 0),
                sum(fresh.get(state, 0) for state in _FAILED),
                run=spread([ran for _, ran in measured]),
                wait=spread([waited for waited, _ in measured]),
            )
    return found


def spread(seconds: Sequence[float]) -> Spread | None:
    """The median and the 95th percentile of what was measured, by nearest rank."""
    if not seconds:
        return None
    ordered = sorted(seconds)
    return ordered[math.ceil(0.5 * len(ordered)) - 1], ordered[math.ceil(0.95 * len(ordered)) - 1]
