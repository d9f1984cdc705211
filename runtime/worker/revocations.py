"""What `celery control revoke` and Flower have named: their word to the workers becomes the end of a record."""

from __future__ import annotations

from typing import Any

import redis
from celery.worker import state

from runtime import keys
from runtime.deployment.deployment import Deployment
from runtime.invocations.cancel import cancel
from runtime.invocations.invocation import TERMINAL

REASON = "revoked"
_BATCH = 500


class Revocations:
    """Celery tells every worker an id and remembers it there; here each worker sees to it that the record ends.

    What runs goes on, as in Celery, unless the revoke also said terminate; what waits in a queue, for its time, at a
    gate or for its retry is cancelled. From then on the record says whether a call may run (it can be started anew),
    and Celery may forget the id.
    """

    def __init__(self, client: redis.Redis, deployment: Deployment) -> None:
        self._client, self._deployment = client, deployment
        self._unrecorded: set[str] = set()

    def received(self, task_id: str) -> None:
        """A revoked call came to this worker: if there was no record of it, there may be one now."""
        self._unrecorded.discard(task_id)

    def look(self) -> None:
        """Cancel what was revoked since the last look. Raises BrokerDown and redis.RedisError."""
        revoked = _ids()
        self._unrecorded &= revoked
        waiting = sorted(revoked - self._unrecorded)[:_BATCH]
        if not waiting:
            return
        with self._client.pipeline(transaction=False) as pipe:
            for task_id in waiting:
                pipe.hget(keys.invocation(task_id), "state")
            found = [value.decode() if value else "missing" for value in pipe.execute()]
        for task_id, known in zip(waiting, found, strict=True):
            verdict = known
            if known not in TERMINAL | {"running", "missing"}:
                verdict = cancel(self._client, self._deployment, task_id, REASON)
            if verdict == "missing":
                self._unrecorded.add(task_id)
            elif verdict in TERMINAL:
                state.revoked.discard(task_id)


def _ids() -> set[str]:
    """The ids that Celery remembers, while its own thread adds to them."""
    for _ in range(10):
        try:
            ids: list[Any] = list(state.revoked)
            return set(ids)
        except RuntimeError:  # it changed size
            continue
    return set()
