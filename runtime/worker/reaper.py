"""Upkeep, run in every `beat` process behind one lock: what is due is queued, what was lost is put back, what is
over is forgotten."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import uuid
from collections.abc import Iterable
from typing import Any

import redis

from runtime import keys
from runtime.attempts import gather
from runtime.broker import presence, scripts
from runtime.deployment.deployment import Deployment
from runtime.errors import BrokerDown, BrokerFull
from runtime.invocations import admission, chain, forgetting, message
from runtime.invocations.abandon import abandon
from runtime.invocations.invocation import Invocation, decode, limits, read_many
from runtime.invocations.requeue import push
from runtime.invocations.submit import now_ms

log = logging.getLogger("tundish.reaper")

STEP_SECONDS = 0.1
REAP_SECONDS = 2.0
SWEEP_SECONDS = 60.0
LOCK_MS = 5_000
GRACE_MS = 3_000
"""A message that was just taken is not in any worker's report yet: reports come every two seconds."""

_BATCH = 500
_IN_TURN = 10
"""Gates of keys and maps that are looked at in one step without a reason."""
_BY_TIME = ("function:", "queue:")


class Upkeep:
    """The mover (what is due) and the reaper (what was lost). `step` does both; several processes share the work."""

    def __init__(self, client: redis.Redis, deployment: Deployment) -> None:
        self._client, self._deployment = client, deployment
        self._token = uuid.uuid4().hex
        self._suspects: dict[str, float] = {}
        self._rest: list[str] = []
        self._reaped_at = self._swept_at = 0.0

    def run(self, stop: threading.Event) -> None:
        """Work until told to stop. A broker that is away is waited for; any other error ends the thread, loudly."""
        away = False
        while not stop.is_set():
            pause = STEP_SECONDS
            try:
                pause = STEP_SECONDS if self._locked() else 1.0
                if pause == STEP_SECONDS:
                    self.step()
                away = False
            except (redis.RedisError, BrokerDown) as error:
                if not away:
                    log.warning("upkeep waits for the broker: %s", error)
                away = True
                pause = 1.0
            stop.wait(pause)
        with contextlib.suppress(redis.RedisError):
            scripts.run(self._client, "unlock", [keys.lock("upkeep")], [self._token])

    def replace(self, deployment: Deployment) -> None:
        """After a reload."""
        self._deployment = deployment

    def step(self) -> None:
        """Move what is due and start what chains wait for; every two seconds look for what was lost."""
        due: Any = self._client.zrangebyscore(keys.DUE, "-inf", now_ms(), start=0, num=_BATCH)
        for task_id, found in self._records(due):
            if found is None or found.state not in ("accepted", "retrying", "waiting"):
                self._client.zrem(keys.DUE, task_id)
            elif not self._requeue(found):  # a function that is gone, perhaps for now
                scripts.run(self._client, "later", (), [task_id, now_ms() + 5_000])
        with contextlib.suppress(BrokerFull):  # what follows a call is new work and waits for memory; the rest must not
            chain.pump_all(self._client, self._deployment)
            gather.pump_all(self._client, self._deployment)
        self._expire()
        reap = time.monotonic() - self._reaped_at >= REAP_SECONDS
        self._admit(reap)
        if reap:
            self._reaped_at = time.monotonic()
            self._reap_running()
            self._reap_queued()
            gather.reap(self._client, self._deployment)
            forgetting.forget(self._client, self._deployment)
        if time.monotonic() - self._swept_at >= SWEEP_SECONDS:
            self._swept_at = time.monotonic()
            forgetting.sweep(self._client, self._deployment)

    def _admit(self, reap: bool) -> None:
        """Let in what waits at gates. Those of functions and queues open by time; a key's or a map's opens with an end,
        which leaves word. The rest are gone through in turn: there may be one for every key."""
        names = admission.gates(self._client)
        if not self._rest:
            self._rest = [gate for gate in names if not gate.startswith(_BY_TIME)]
        turn, self._rest = self._rest[:_IN_TURN], self._rest[_IN_TURN:]
        by_time = [gate for gate in names if gate.startswith(_BY_TIME)]
        for gate in (*by_time, *turn) if reap else turn:
            admission.free_dead_places(self._client, gate)
        for gate in (*by_time, *admission.freed(self._client), *turn):
            admission.admit_next(self._client, self._deployment, gate)

    def _expire(self) -> None:
        """End what was not started in time."""
        late: Any = self._client.zrangebyscore(keys.EXPIRING, "-inf", now_ms(), start=0, num=_BATCH)
        for task_id in late:
            scripts.run(self._client, "expire", (), [task_id, *self._limits])

    @property
    def _limits(self) -> list[int]:
        return limits(self._deployment.settings.project.retention)

    def _locked(self) -> bool:
        return bool(scripts.run(self._client, "lock", [keys.lock("upkeep")], [self._token, LOCK_MS]))

    def _records(self, ids: Iterable[bytes]) -> list[tuple[str, Invocation | None]]:
        names = [task_id.decode() for task_id in ids]
        return list(read_many(self._client, names).items()) if names else []

    def _reap_running(self) -> None:
        """Attempts whose lease ran out: their worker is gone."""
        expired: Any = self._client.zrangebyscore(keys.RUNNING, "-inf", now_ms(), start=0, num=_BATCH)
        for task_id, found in self._records(expired):
            if found is None or found.state != "running":
                self._client.zrem(keys.RUNNING, task_id)
            elif self._requeue(found):
                log.warning("%s[%s] put back: its worker %s is gone", found.function, task_id, found.worker)

    def _reap_queued(self) -> None:
        """Queued records whose message is nowhere: older than the oldest message of their list, and with no worker."""
        names: Any = self._client.smembers(keys.QUEUED)
        held = self._held()
        suspects: dict[str, float] = {}
        for name in sorted(names):
            for task_id, found in self._records(self._older_than_their_list(name.decode())):
                if found is None or found.state != "queued":
                    self._client.zrem(name, task_id)
                elif task_id not in held and self._twice(found, suspects) and self._requeue(found):
                    log.warning("%s[%s] put back: its message was lost", found.function, task_id)
        self._suspects = suspects

    def _older_than_their_list(self, name: str) -> list[bytes]:
        """The records that wait in one list of a queue by their word, but by their age cannot be in it."""
        queue, _, priority = name.removeprefix(f"{keys.QUEUED}:").rpartition(":")
        before = float(now_ms() - GRACE_MS)
        # In a queue that is no longer declared nobody looks: what waits there goes where its function is served now.
        if queue in self._deployment.settings.project.queues:
            oldest = self._oldest(keys.queue_list(queue, keys.transport_priority(int(priority))))
            if oldest is None:
                return []
            before = min(before, oldest - 1)
        found: Any = self._client.zrangebyscore(name, "-inf", before, start=0, num=_BATCH)
        return list(found)

    def _twice(self, found: Invocation, suspects: dict[str, float]) -> bool:
        """Whether the last look found the same: then no report of a worker is still on its way."""
        if self._suspects.get(found.id) == found.queued:
            return True
        suspects[found.id] = found.queued
        return False

    def _held(self) -> set[str]:
        names = [keys.held(process.name) for process in presence.read(self._client) if process.kind == "worker"]
        held: Any = self._client.sunion(names) if names else ()
        return {task_id.decode() for task_id in held}

    def _oldest(self, target: str) -> float | None:
        """When (ms) the message at the head of a list was queued: infinity without one, None for a foreign one."""
        raw: Any = self._client.lindex(target, -1)
        return float("inf") if raw is None else message.queued_at(raw)

    def _requeue(self, found: Invocation) -> bool:
        """Queue a record's message again, unless somebody was faster."""
        fields: Any = self._client.hgetall(keys.invocation(found.id))
        current = decode(found.id, fields)
        if current is None or current.state != found.state:
            return False
        gone = found.function not in self._deployment.functions
        if gather.MEMBERS in fields and (gone or current.state == "running"):
            return gather.scatter(self._client, self._deployment, found.id, int(fields[b"fence"])) > 0
        if gone:
            return abandon(self._client, self._deployment, current, fields)
        return push(self._client, self._deployment, current, fields)
