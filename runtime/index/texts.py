"""The newest committed version of every document: which content a key has in the index, whoever wrote it.

One hash per index, document id → `seq:etag`. An entry is never replaced by one with a lower sequence number. Losing
the hash costs one more commit per document, never a wrong answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import redis

from runtime import keys
from runtime.broker.connection import translated

# KEYS[1] the hash; ARGV: id, seq, etag, id, seq, etag …
_WRITE = """
for place = 1, #ARGV, 3 do
  local known = redis.call('HGET', KEYS[1], ARGV[place])
  local seq = known and tonumber(string.match(known, '^%d+')) or -1
  if tonumber(ARGV[place + 1]) >= seq then
    redis.call('HSET', KEYS[1], ARGV[place], ARGV[place + 1] .. ':' .. ARGV[place + 2])
  end
end
"""
_AT_ONCE = 1000  # entries of one call: Lua's unpacked arguments and the broker's patience are finite


def read(client: redis.Redis, index: str, ids: Sequence[str]) -> dict[str, tuple[str, int]]:
    """Etag and sequence number by id; ids that were never written are left out. Raises BrokerDown."""
    found: dict[str, tuple[str, int]] = {}
    for first in range(0, len(ids), _AT_ONCE):
        part = list(ids[first : first + _AT_ONCE])
        with translated():
            values = cast(list[bytes | None], client.hmget(keys.index_texts(index), part))
        for name, value in zip(part, values, strict=True):
            if value is not None:
                seq, _, etag = value.decode().partition(":")
                found[name] = (etag, int(seq))
    return found


def write(client: redis.Redis, index: str, versions: Mapping[str, tuple[str, int]]) -> None:
    """Write etag and sequence number by id, each unless a higher number is there. Raises BrokerDown."""
    items = list(versions.items())
    for first in range(0, len(items), _AT_ONCE):
        arguments: list[Any] = []
        for name, (etag, seq) in items[first : first + _AT_ONCE]:
            arguments += [name, seq, etag]
        with translated():
            client.eval(_WRITE, 1, keys.index_texts(index), *arguments)
