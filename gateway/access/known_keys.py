"""The API keys as this gateway knows them: asked for in the broker, and remembered for half a second."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import redis
import redis.asyncio

from runtime import keys
from runtime.callers import api_keys
from runtime.callers.api_keys import ApiKey

FRESH_SECONDS = 0.5
"""A key that was revoked opens nothing after that, at any gateway."""
AWAY_SECONDS = 900.0
"""While the broker is away nobody can revoke a key, and the outbox takes calls: what was known then holds so long."""
ASK_AGAIN_SECONDS = 1.0
_USED_SECONDS = 60.0
_MOST = 10_000

log = logging.getLogger("tundish.gateway")


class KnownKeys:
    """Looks keys up by name."""

    def __init__(self, client: redis.asyncio.Redis, clock: Callable[[], float] = time.monotonic) -> None:
        self._redis, self._clock = client, clock
        self._known: dict[str, tuple[float, ApiKey]] = {}
        self._noted: dict[str, float] = {}
        self._away_until = 0.0

    async def find(self, name: str) -> ApiKey | None:
        """The key of this name. Raises redis.RedisError where only the broker could tell."""
        now = self._clock()
        asked, known = self._known.get(name, (-AWAY_SECONDS, None))
        if known and now - asked < FRESH_SECONDS:
            return known
        held = known if now - asked < AWAY_SECONDS else None
        if held and now < self._away_until:
            return held
        try:
            raw: Any = await self._redis.hget(keys.API_KEYS, name)
        except (redis.ConnectionError, redis.TimeoutError, redis.exceptions.BusyLoadingError):
            self._away_until = self._clock() + ASK_AGAIN_SECONDS
            if held is None:
                raise
            return held
        if raw is None:
            self._known.pop(name, None)
            return None
        if len(self._known) >= _MOST:
            self._known.clear()
        found = api_keys.decode(name, raw)
        self._known[name] = now, found
        return found

    async def note_use(self, name: str) -> None:
        """Remember that a key was used, once a minute at most. It does not matter where that fails."""
        now = self._clock()
        if now - self._noted.get(name, -_USED_SECONDS) < _USED_SECONDS or now < self._away_until:
            return
        if len(self._noted) >= _MOST:
            self._noted.clear()
        self._noted[name] = now
        try:
            await self._redis.hset(keys.API_KEYS_USED, name, str(int(time.time())))
        except redis.RedisError as error:
            log.debug("the use of the key %s is not noted: %s", name, error)
