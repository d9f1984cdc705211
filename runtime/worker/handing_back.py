"""Giving back what a worker runs when its time is over: other workers run it, at once and from its beginning."""

from __future__ import annotations

import contextlib
import logging
from typing import Any

import redis

from runtime import keys
from runtime.attempts import gather
from runtime.broker import scripts
from runtime.deployment.deployment import Deployment
from runtime.errors import TundishError
from runtime.invocations.requeue import requeue

log = logging.getLogger("tundish.task")


def hand_back(client: redis.Redis, deployment: Deployment, worker: str, task_id: str) -> bool:
    """Queue a call again that this worker runs. The attempt does not count, and can write nothing any more.

    Where the broker is away the call stays, and the upkeep finds it when its lease has run out.
    """
    with contextlib.suppress(redis.RedisError, TundishError):
        found: Any = client.hmget(keys.invocation(task_id), "worker", "fence", gather.MEMBERS)
        owner, fence, members = found
        if owner != worker.encode():
            return False
        if members is not None:
            back = gather.scatter(client, deployment, task_id, int(fence), holder=True) > 0
        else:
            back = bool(scripts.run(client, "hand_back", (), [task_id, worker]))
            back = back and requeue(client, deployment, task_id, states=("running",))
        if back:
            log.warning("%s is handed back: the time that this worker had to stop is over", task_id)
        return back
    return False
