"""Epochs: a number for every attempt to change a collection of an index, never given out twice."""

from __future__ import annotations

import redis

from runtime import keys
from runtime.broker.connection import translated

_LEFT_OUT = 1000
"""After a loss of the broker so many numbers are left out: an attempt from before may still be writing."""

_TAKE = """
local now = tonumber(redis.call('GET', KEYS[1]) or -1)
local floor = tonumber(ARGV[1])
if now < 0 and floor > 0 then floor = floor + tonumber(ARGV[2]) end
if now < floor then redis.call('SET', KEYS[1], floor) end
return redis.call('INCR', KEYS[1])
"""


_LAST = "return tonumber(redis.call('GET', KEYS[1]) or -1)"


def is_last(client: redis.Redis, index: str, epoch: int) -> bool:
    """Whether no other attempt has begun since this one; true where the broker has lost what it knew, and nobody has
    begun since. Raises BrokerDown."""
    with translated():
        return int(client.eval(_LAST, 1, keys.index_epoch(index))) in (-1, epoch)


def take(client: redis.Redis, index: str, above: int) -> int:
    """The next epoch of an index, above that of its newest version. Raises BrokerDown."""
    with translated():
        return int(client.eval(_TAKE, 1, keys.index_epoch(index), above, _LEFT_OUT))
