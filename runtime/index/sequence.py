"""Sequence numbers: one counter an index in Redis, never below the highest one that is stored."""

from __future__ import annotations

import contextlib

import redis

from runtime import keys
from runtime.broker.connection import translated
from runtime.context import Store
from runtime.errors import CorruptBatch, ObjectMissing

_UNBUILT_SECONDS = 86400.0
"""Batches older than the newest manifest by more than this are in it, or were left out of it for good."""

_IN_FLIGHT = 1_000_000
"""After a loss of the broker so many numbers are left out: what was out then may still be written, with numbers that
nothing stored tells of, and must not win over what is handed out from now on."""

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
        floor = self._floors[index] if index in self._floors else self._read_floor(index)
        last = self._call(index, count, floor, fresh=False)
        if last < 0:  # a fresh or emptied broker
            last = self._call(index, count, self._whole_floor(index), fresh=True)
        return last - count + 1

    def raise_to(self, index: str, floor: int) -> None:
        """A manifest has seen `floor`. A counter that is missing stays so: `take` has to look at batches, too."""
        self._floors[index] = max(floor, self._floors.get(index, 0))
        self._call(index, 0, self._floors[index], fresh=False)

    def _read_floor(self, index: str) -> int:
        from runtime.index import manifest  # numpy comes with it, and triggers may never need a number

        current = manifest.newest(self._store, index)
        self._floors[index] = current.max_seq if current else 0
        return self._floors[index]

    def _whole_floor(self, index: str) -> int:
        """A number above those in the newest manifest, in the batches that came since, which no manifest knows, and in
        those that are still to come."""
        from runtime.index import batches, manifest, spaces

        current = manifest.newest(self._store, index)
        since = current.created - _UNBUILT_SECONDS if current else 0.0
        floor = self._read_floor(index)
        for space in spaces.spaces(self._store, index):
            for batch_id, found in batches.listing(self._store, space).items():
                if found.rows and found.modified >= since:
                    with contextlib.suppress(ObjectMissing, CorruptBatch):
                        rows = batches.read_rows(self._store, space, batch_id)
                        floor = max([floor, *(row.seq for row in rows)])
        self._floors[index] = floor
        return floor + _IN_FLIGHT if floor else 0

    def _call(self, index: str, count: int, floor: int, *, fresh: bool) -> int:
        with translated():
            return int(self._client.eval(_TAKE, 1, keys.index_seq(index), count, floor, int(fresh)))
