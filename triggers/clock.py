"""Ticks into invocations: each once, however many clocks there are."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import redis

from runtime import keys
from runtime.deployment import Deployment
from runtime.errors import BrokerDown
from runtime.invocations import read
from runtime.submit import Call, submit_with
from triggers.cron import Schedule, due_ticks, next_due, parse_tick, schedules, tick_name

log = logging.getLogger("tundish.beat")

_KEPT_SECONDS = 2 * 86400
# GKEYS: this tick, the schedule's newest invocation.  GARGV: id, seconds
_GUARD = """
if not redis.call('SET', GKEYS[1], GARGV[1], 'NX', 'EX', GARGV[2]) then return false end
redis.call('SET', GKEYS[2], GARGV[1])
return true
"""


class Clock:
    """Submits what is due. The guard of a tick is set in the same atomic step that records its invocation."""

    def __init__(
        self, client: redis.Redis, deployment: Deployment, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._client, self._deployment, self._now = client, deployment, now
        self.schedules = schedules(deployment.settings.project)
        self._seen: dict[str, datetime] = {}
        self._next: dict[str, datetime | None] = {}
        self._down = False

    @property
    def down(self) -> bool:
        """Whether the broker was away at the last look."""
        return self._down

    def tick(self, longest: float) -> float:
        """Submit what is due; returns the seconds until the next look, at most `longest`. A broker that is away
        is waited for: what falls due meanwhile is late, and `catch_up` decides about it."""
        try:
            for schedule in self.schedules:
                self._look(schedule)
        except (BrokerDown, redis.RedisError) as error:
            if not self._down:
                log.warning("the clock waits for the broker: %s", error)
            self._down = True
            return longest
        if self._down:
            log.warning("the clock goes on")
        self._down = False
        now = self._now()
        waits = [(moment - now).total_seconds() for moment in self._next.values() if moment]
        return min([longest, *(max(0.0, wait) for wait in waits)])

    def _look(self, schedule: Schedule) -> None:
        now, name = self._now(), schedule.name
        if name not in self._seen:
            self._seen[name], self._next[name] = self._first(name, now), now
        moment = self._next[name]
        if moment is None or moment > now:
            return
        due = due_ticks(schedule, self._seen[name], now)
        for tick in due.ticks:
            self._submit(schedule, tick_name(tick))
        if due.seen > self._seen[name]:
            self._client.set(keys.tick(name, "last"), tick_name(due.seen))
            self._seen[name] = due.seen
        self._next[name] = next_due(schedule, self._seen[name])

    def _first(self, name: str, now: datetime) -> datetime:
        """The newest tick that any clock has looked at; a new schedule begins now."""
        last: Any = self._client.set(keys.tick(name, "last"), tick_name(now), nx=True, get=True)
        return parse_tick(last.decode()) if last else now

    def _submit(self, schedule: Schedule, tick: str) -> None:
        task_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"tundish:{schedule.name}:{tick}"))
        names = [keys.tick(schedule.name, tick), keys.tick(schedule.name, "task")]
        if schedule.trigger.overlap == "forbid":
            last: Any = self._client.get(names[1])
            running = read(self._client, last.decode()) if last and last.decode() != task_id else None
            if running and not running.terminal:
                log.info("%s: the tick %s is left out, %s is still %s", schedule.name, tick, running.id, running.state)
                self._client.set(names[0], "skipped", nx=True, ex=_KEPT_SECONDS)
                return
        call = Call(schedule.function, schedule.trigger.arguments, trigger="cron", id=task_id)
        if submit_with(self._client, self._deployment, call, _GUARD, names, [task_id, _KEPT_SECONDS]):
            log.info("%s: %s as %s", schedule.name, tick, task_id)
