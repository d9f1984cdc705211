"""The worker's parent process beside Celery: it says who is alive, holds what, and keeps the leases."""

from __future__ import annotations

import json
import random

import redis
from celery.worker import state

from runtime import keys, scripts
from runtime.attempt import LEASE_MS, Attempt, finish, repeat
from runtime.deployment import Deployment
from runtime.presence import TTL_SECONDS, Presence
from runtime.retry import decide


class Keeper:
    """One per worker. `lost` and `timed_out` are called by InvocationRequest, in the parent process."""

    def __init__(self, client: redis.Redis, deployment: Deployment, worker: str) -> None:
        self._client, self._deployment, self._worker = client, deployment, worker
        self._dice = random.Random()  # noqa: S311 (spreads delays, keeps no secrets)
        self.presence = Presence(client, "worker", worker, extra=self._renew)

    def lost(self, name: str, task_id: str) -> None:
        """A child died with this invocation."""
        scripts.run(self._client, "release", [keys.invocation(task_id), keys.RUNNING], [task_id, self._worker])

    def timed_out(self, name: str, task_id: str, limit: float) -> None:
        """The hard limit passed and the child is being killed: decide what comes next in its place."""
        record: dict[bytes, bytes] = self._client.hgetall(keys.invocation(task_id))  # type: ignore[assignment]
        if record.get(b"state") != b"running" or record.get(b"worker") != self._worker.encode():
            return
        attempt = Attempt(task_id, int(record[b"fence"]), int(record[b"attempts"]), record)
        spec = self._deployment.find(name).spec
        message = f"{name} ran longer than its timeout of {limit:g} s and was stopped"
        told = {"type": "TimeLimitExceeded", "message": message, "summary": message}
        allowed = not attempt.flag("no_retry")
        decision = decide(spec.retries, attempt.number, TimeoutError(message), allowed=allowed, dice=self._dice)
        if decision.state == "retrying":
            repeat(self._client, attempt, decision, told)
        else:
            finish(self._client, spec, attempt, decision.state, {"error": json.dumps(told)})

    def _renew(self, pipe: redis.client.Pipeline) -> None:
        """With every heartbeat: what this worker has received, and the leases of what it runs."""
        received = _ids(state.reserved_requests)
        key = keys.held(self._worker)
        pipe.delete(key)
        if received:
            pipe.sadd(key, *received)
            pipe.expire(key, TTL_SECONDS)
        running = _ids(state.active_requests)
        if running:
            names = [keys.RUNNING, *(keys.invocation(task_id) for task_id in running)]
            pipe.eval(scripts.source("renew"), len(names), *names, self._worker, LEASE_MS, *running)


def _ids(requests: object) -> list[str]:
    """Ids in one of Celery's sets, which its own thread changes while this one reads."""
    for _ in range(10):
        try:
            return [request.id for request in list(requests)]  # type: ignore[call-overload]
        except RuntimeError:  # the set changed size
            continue
    return []
