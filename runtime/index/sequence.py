"""Sequence numbers: one counter an index in Redis, never below what the newest manifest has seen."""

from __future__ import annotations

import redis

from runtime import keys
from runtime.broker import translated
from runtime.context import Store
from runtime.index import manifest

# A counter that is missing (a fresh or emptied broker) is not started without knowing the floor.
_TAKE = """
local now = redis.call('GET', KEYS[1])
if not now and ARGV[3] == '0' then return -1 end
if tonumber(now or 0) < tonumber(ARGV[2]) then redis.call('SET', KEYS[1], ARGV[2]) end
return redis.call('INCRBY', KEYS[1], ARGV[1])
"""


class Sequence:
    """Gives out numbers. Remembers the floor of each index it was asked for."""

    def __init__(self, store: Store, client: redis.Redis) -> None:
        self._store, self._client = store, client
        self._floors: dict[str, int] = {}

    def take(self, index: str, count: int) -> int:
        """Reserve `count` numbers; returns the first."""
        known = index in self._floors
        floor = self._floors[index] if known else self._read_floor(index)
        last = self._call(index, count, floor, fresh=not known)
        if last < 0:
            last = self._call(index, count, self._read_floor(index), fresh=True)
        return last - count + 1

    def raise_to(self, index: str, floor: int) -> None:
        """A manifest has seen `floor`."""
        self._floors[index] = max(floor, self._floors.get(index, 0))
        self._call(index, 0, self._floors[index], fresh=True)

    def _read_floor(self, index: str) -> int:
        current = manifest.newest(self._store, index)
        self._floors[index] = current.max_seq if current else 0
        return self._floors[index]

    def _call(self, index: str, count: int, floor: int, *, fresh: bool) -> int:
        with translated():
            return int(self._client.eval(_TAKE, 1, keys.index_seq(index), count, floor, int(fresh)))
