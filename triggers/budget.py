"""How much one trigger may hand out in a minute, counted for all processes together."""

from __future__ import annotations

import time
from typing import Any

import redis

from runtime import keys
from runtime.buckets.watch import Watch
from runtime.config.settings import Guard
from triggers.batching import FREE, Room

# GKEYS[3]: the budget's hash.  The claim's own part begins with: objects, bytes of this batch, limits of both (0:
# none).  One batch may exceed what it finds untouched: an object larger than the budget goes alone.  The minute is the
# broker's: around its end the clocks of several hosts would begin it anew with each claim.
SPEND = """
local function spend(name, objects, bytes, most_objects, most_bytes)
  objects, bytes = tonumber(objects), tonumber(bytes)
  most_objects, most_bytes = tonumber(most_objects), tonumber(most_bytes)
  if most_objects == 0 and most_bytes == 0 then return true end
  local minute = tostring(math.floor(redis.call('TIME')[1] / 60))
  local spent = redis.call('HMGET', name, 'minute', 'objects', 'bytes')
  local o, b = 0, 0
  if spent[1] == minute then o, b = tonumber(spent[2]), tonumber(spent[3]) end
  if o > 0 and ((most_objects > 0 and o + objects > most_objects) or (most_bytes > 0 and b + bytes > most_bytes)) then
    return false
  end
  redis.call('HSET', name, 'minute', minute, 'objects', o + objects, 'bytes', b + bytes)
  redis.call('EXPIRE', name, 120)
  return true
end
"""


class Budget:
    """`guard.objects_per_minute` and `guard.bytes_per_minute` of one trigger. Raises redis errors."""

    def __init__(self, client: redis.Redis, watch: Watch) -> None:
        self._client, self._guard = client, watch.trigger.guard
        self.key = keys.budget(watch.name, watch.trigger.bucket)

    def room(self) -> Room:
        """What may still go in this minute."""
        if not _limited(self._guard):
            return FREE
        now = time.time()
        minute, *spent = self._read()
        objects, size = spent if minute == int(now // 60) else (0, 0)
        return Room(
            (self._guard.objects_per_minute or float("inf")) - objects,
            (self._guard.bytes_per_minute or float("inf")) - size,
            60 - now % 60,
            objects == 0,
        )

    def arguments(self, objects: int, size: int) -> list[int]:
        """What a claim of so many objects and bytes tells SPEND."""
        most = (self._guard.objects_per_minute or 0, self._guard.bytes_per_minute or 0)
        return [objects, size, *most]

    def _read(self) -> tuple[int, int, int]:
        found: Any = self._client.hmget(self.key, "minute", "objects", "bytes")
        minute, objects, size = (int(value or 0) for value in found)
        return minute, objects, size


def _limited(guard: Guard) -> bool:
    return guard.objects_per_minute is not None or guard.bytes_per_minute is not None
