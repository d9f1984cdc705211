"""Whether an attempt is to stop, as its function may ask: `context.should_stop()`."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import redis

from runtime import keys

_LOOK_SECONDS = 0.25


class StopFlag:
    """True once somebody asked for a stop, or another attempt has taken over. Looks at most four times a second."""

    def __init__(self, client: redis.Redis, task_id: str, fence: int) -> None:
        self._client, self._task_id, self._fence = client, task_id, str(fence).encode()
        self._looked, self._stop = time.monotonic(), False

    def __call__(self) -> bool:
        now = time.monotonic()
        if not self._stop and now - self._looked >= _LOOK_SECONDS:
            self._looked = now
            with contextlib.suppress(redis.RedisError):  # a broker that is away asks for nothing
                held: Any = self._client.hmget(keys.invocation(self._task_id), "state", "fence", "stop")
                self._stop = held[:2] != [b"running", self._fence] or held[2] is not None
        return self._stop
