"""Upkeep, run in every `beat` process behind one lock: what is due is queued, what was lost is put back."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import uuid
from collections.abc import Iterable
from typing import Any

import redis

from runtime import chain, keys, message, scripts
from runtime.deployment import Deployment
from runtime.invocations import Invocation, decode, read_many
from runtime.submit import message_for, now_ms

log = logging.getLogger("tundish.reaper")

STEP_SECONDS = 0.1
REAP_SECONDS = 2.0
LOCK_MS = 10_000
GRACE_MS = 3_000
"""A message that was just taken is not in any worker's report yet: reports come every two seconds."""

_BATCH = 500


class Upkeep:
    """The mover (what is due) and the reaper (what was lost). `step` does both; several processes share the work."""

    def __init__(self, client: redis.Redis, deployment: Deployment) -> None:
        self._client, self._deployment = client, deployment
        self._token = uuid.uuid4().hex
        self._suspects: dict[str, float] = {}
        self._reaped_at = 0.0

    def run(self, stop: threading.Event) -> None:
        """Work until told to stop. A broker that is away is waited for; any other error ends the thread, loudly."""
        while not stop.is_set():
            pause = STEP_SECONDS
            try:
                pause = STEP_SECONDS if self._locked() else 1.0
                if pause == STEP_SECONDS:
                    self.step()
            except (redis.ConnectionError, redis.TimeoutError):
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
            if found is None or found.state != "retrying" or not self._requeue(found):
                self._client.zrem(keys.DUE, task_id)
        chain.pump_all(self._client, self._deployment)
        if time.monotonic() - self._reaped_at >= REAP_SECONDS:
            self._reaped_at = time.monotonic()
            self._reap_running()
            self._reap_queued()

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
        """Queued records whose message is nowhere: in no list, and with no live worker."""
        before = now_ms() - GRACE_MS
        waiting: Any = self._client.zrangebyscore(keys.QUEUED, "-inf", before, start=0, num=_BATCH)
        if not waiting:
            self._suspects.clear()
            return
        held = self._held()
        oldest: dict[str, float | None] = {}
        suspects: dict[str, float] = {}
        for task_id, found in self._records(waiting):
            if found is None or found.state != "queued":
                self._client.zrem(keys.QUEUED, task_id)
                continue
            target = keys.queue_list(found.queue, keys.transport_priority(found.priority))
            if target not in oldest:
                oldest[target] = self._oldest(target)
            age = oldest[target]
            if task_id in held or age is None or age <= found.queued:
                continue
            if self._suspects.get(task_id) == found.queued:  # seen twice in a row: no report is still on its way
                if self._requeue(found):
                    log.warning("%s[%s] put back: its message was lost", found.function, task_id)
            else:
                suspects[task_id] = found.queued
        self._suspects = suspects

    def _held(self) -> set[str]:
        names = list(self._client.scan_iter(match=keys.held("*"), count=500))
        held: Any = self._client.sunion(names) if names else ()
        return {task_id.decode() for task_id in held}

    def _oldest(self, target: str) -> float | None:
        """When the message at the head of a list was queued: infinity for an empty list, None for a foreign message."""
        raw = self._client.lindex(target, -1)
        if raw is None:
            return float("inf")
        queued = message.queued_at(raw)  # type: ignore[arg-type]
        return None if queued is None else queued / 1000

    def _requeue(self, found: Invocation) -> bool:
        """Queue a record's message again, unless somebody was faster."""
        fields: dict[bytes, bytes] = self._client.hgetall(keys.invocation(found.id))  # type: ignore[assignment]
        deployed = self._deployment.functions.get(found.function)
        current = decode(found.id, fields)
        if deployed is None or current is None or current.state != found.state:
            return False
        queued = now_ms()
        raw = message_for(
            deployed.spec,
            found.id,
            current.arguments,
            priority=current.priority,
            queued_ms=queued,
            root=current.root,
            parent=current.parent,
            keep_result=b"foreign" in fields,
        )
        target = keys.queue_list(deployed.spec.queue, keys.transport_priority(current.priority))
        names = [keys.invocation(found.id), keys.QUEUED, keys.RUNNING, keys.DUE, target]
        expected = [fields[b"state"], fields[b"fence"], fields[b"queued"]]
        return bool(scripts.run(self._client, "requeue", names, [found.id, *expected, queued, raw]))
