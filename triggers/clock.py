"""Ticks into invocations: each once, however many clocks there are."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from datetime import UTC, datetime

import redis

from runtime import keys
from runtime.broker import scripts
from runtime.deployment.deployment import Deployment
from runtime.errors import BrokerDown
from runtime.invocations.cancel import cancel
from runtime.invocations.submit import Call, submit_with
from runtime.schedules.schedule import Schedule, next_due, schedules, tick_name
from runtime.schedules.state import KEPT_SECONDS, late_field
from runtime.security.principal import DEFAULT_TENANT
from runtime.telemetry.tracing import Tracing
from triggers.cron import due_ticks
from triggers.flags import Flags

log = logging.getLogger("tundish.beat")

_GUARDED_SECONDS = 3600
"""A tick is guarded so long beyond the time in which a clock may submit it: clocks of two hosts may differ."""

# GKEYS: the tick, the schedule's hash.  GARGV: id, instant (ms), seconds to keep each of the two, lateness (s), its
# counter, overlap, the invocation that was replaced, and the words by which the schedule may be paused.
_GUARD = """
if redis.call('EXISTS', GKEYS[1]) == 1 then return false end
for i = 9, #GARGV do
  if redis.call('HEXISTS', K.paused, GARGV[i]) == 1 then return false end
end
local before = redis.call('HGET', GKEYS[2], 'task') or ''
if GARGV[7] == 'replace' and before ~= GARGV[8] then return false end
if GARGV[7] == 'forbid' and redis.call('HEXISTS', K.record .. before, 'state') == 1
    and redis.call('HEXISTS', K.record .. before, 'ended') == 0 then
  redis.call('SET', GKEYS[1], 'skipped', 'EX', GARGV[3])
  redis.call('HINCRBY', GKEYS[2], 'skipped', 1)
  return false
end
redis.call('SET', GKEYS[1], GARGV[1], 'EX', GARGV[3])
redis.call('HSET', GKEYS[2], 'task', GARGV[1], 'tick', GARGV[2], 'late', GARGV[5])
redis.call('HINCRBY', GKEYS[2], 'submitted', 1)
redis.call('HINCRBY', GKEYS[2], GARGV[6], 1)
redis.call('HINCRBYFLOAT', GKEYS[2], 'late_sum', GARGV[5])
redis.call('EXPIRE', GKEYS[2], GARGV[4])
return true
"""
# KEYS: the schedule's hash.  ARGV: newest tick looked at (ms), the one before, counter, by how much, seconds to keep.
# Of several clocks that come back from an interruption one counts.
_LOOKED = """
if redis.call('HGET', KEYS[1], 'seen') == ARGV[2] and ARGV[4] ~= '0' then
  redis.call('HINCRBY', KEYS[1], ARGV[3], ARGV[4])
end
redis.call('HSET', KEYS[1], 'seen', ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[5])
return 1
"""


class Clock:
    """Submits what is due. The guard of a tick is set in the same atomic step that records its invocation."""

    def __init__(
        self, client: redis.Redis, deployment: Deployment, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._client, self._deployment, self._now = client, deployment, now
        self.schedules = schedules(deployment.settings.project)
        self._flags = Flags(client)
        self._tracing = Tracing(deployment.settings.tracing, "beat")
        self._seen: dict[str, datetime] = {}
        self._next: dict[str, datetime | None] = {}
        self._resting: set[str] = set()
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
        due = (moment for name, moment in self._next.items() if moment and name not in self._resting)
        return min([longest, *(max(0.0, (moment - now).total_seconds()) for moment in due)])

    def _look(self, schedule: Schedule) -> None:
        now, name = self._now(), schedule.name
        if name not in self._seen:
            self._seen[name] = self._begin(name, now)
            self._next[name] = now
        if self._flags.resting("schedule", schedule.names):
            self._resting.add(name)
            return
        moment, resumed = self._next[name], name in self._resting
        if moment and moment <= now:
            due = due_ticks(schedule, self._seen[name], now, resumed=resumed)
            for tick, at in due.ticks:
                if not self._decide(schedule, tick, at):
                    return  # it was paused just now: this tick is judged when it is resumed
            if due.seen > self._seen[name]:
                self._looked(name, due.seen, "skipped" if resumed else "missed", due.gone)
            self._next[name] = next_due(schedule, self._seen[name])
        self._resting.discard(name)

    def _begin(self, name: str, now: datetime) -> datetime:
        """The newest tick that any clock has looked at; a new schedule begins now."""
        with self._client.pipeline() as pipe:
            pipe.hsetnx(keys.schedule(name), "seen", _ms(now))
            pipe.expire(keys.schedule(name), KEPT_SECONDS)
            pipe.hget(keys.schedule(name), "seen")
            last = pipe.execute()[-1]
        # Should the clock of a host have been wrong, and gone ahead, nobody waits for it.
        return min(now, datetime.fromtimestamp(int(last) / 1000, UTC))

    def _looked(self, name: str, seen: datetime, counter: str, gone: int) -> None:
        arguments: list[scripts.Argument] = [_ms(seen), _ms(self._seen[name]), counter, gone, KEPT_SECONDS]
        scripts.run_text(self._client, _LOOKED, [keys.schedule(name)], arguments)
        self._seen[name] = seen

    def _decide(self, schedule: Schedule, tick: datetime, at: datetime) -> bool:
        """Submit a tick, or leave it to the clock that was faster, or leave it out. False: the schedule is paused."""
        name, guard = tick_name(tick), keys.tick(schedule.name, tick_name(tick))
        while not self._submit(schedule, tick, at):
            if self._client.exists(guard):
                return True
            if self._flags.resting("schedule", schedule.names, anew=True):
                self._resting.add(schedule.name)
                return False
            log.info("%s: %s again, another clock was faster", schedule.name, name)
        return True

    def _submit(self, schedule: Schedule, tick: datetime, at: datetime) -> bool:
        trigger, name = schedule.trigger, tick_name(tick)
        task_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"tundish:{schedule.name}:{name}"))
        replaced = self._replace(schedule, name, task_id) if trigger.overlap == "replace" else ""
        late = max(0.0, (self._now() - at).total_seconds())
        arguments: list[scripts.Argument] = [
            task_id,
            _ms(tick),
            int(_GUARDED_SECONDS + trigger.catch_up + trigger.jitter),
            KEPT_SECONDS,
            f"{late:.6f}",
            late_field(late),
            trigger.overlap,
            replaced,
            *_flags(schedule),
        ]
        names = [keys.tick(schedule.name, name), keys.schedule(schedule.name)]
        told = {"tundish.call.id": task_id, "tundish.tick": name}
        with self._tracing.span(f"schedule {schedule.name}", kind="producer", attributes=told) as span:
            call = Call(
                schedule.function,
                trigger.arguments,
                trigger="cron",
                id=task_id,
                trace=span.traceparent,
                tenant=trigger.tenant or DEFAULT_TENANT,
            )
            taken = submit_with(self._client, self._deployment, call, _GUARD, names, arguments) is not None
            if not taken:
                span.discard()
        if taken:
            about = {"task_id": task_id, "function": schedule.function}
            log.info("%s: %s as %s", schedule.name, name, task_id, extra=about)
        return taken

    def _replace(self, schedule: Schedule, name: str, task_id: str) -> str:
        """Cancel the schedule's newest invocation, unless there is no tick to make room for; returns its id."""
        with self._client.pipeline() as pipe:
            pipe.hget(keys.schedule(schedule.name), "task")
            pipe.exists(keys.tick(schedule.name, name))
            for word in _flags(schedule):
                pipe.hexists(keys.PAUSED, word)
            last, *idle = pipe.execute()
        before = last.decode() if last else ""
        if before and before != task_id and not any(idle):
            verdict = cancel(self._client, self._deployment, before, f"replaced by the tick {name}")
            if verdict in ("cancelled", "stopping"):
                log.info("%s: %s is replaced by the tick %s", schedule.name, before, name)
        return before


def _flags(schedule: Schedule) -> list[str]:
    """The fields of `tundish:paused` that stop it."""
    return [f"schedule:{name}" for name in schedule.names]


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
