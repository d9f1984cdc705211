"""The ledger's entries of a bucket invocation that is run again: from dead back to pending, and out again.

`triggers` owns the ledger; this one change is made where a person decides that a dead letter is to run once more.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgpack
import redis

from runtime.broker import scripts
from runtime.broker.connection import translated
from runtime.buckets.entry import read
from runtime.buckets.s3_records import keys_in
from runtime.buckets.watch import Watch, watches
from runtime.config.settings import Project

# KEYS: ledger, flight.  ARGV: id, packed keys, then key, entry that was read, new entry, …
# Entries that moved meanwhile are left alone: the triggers settle only what is pending under the invocation.
_REOPEN = """
local count = 0
for i = 3, #ARGV, 3 do
  if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 2])
    count = count + 1
  end
end
if count > 0 then redis.call('HSET', KEYS[2], ARGV[1], ARGV[2]) end
return count
"""


def reopen(client: redis.Redis, project: Project, function: str, task_id: str, arguments: Mapping[str, Any]) -> int:
    """Make the objects of an invocation pending under it again; how many entries were dead under it.

    Its end then settles them as it does the first time. Done twice it does nothing. Raises BrokerDown.
    """
    with translated():
        return sum(
            _reopen(client, watch, task_id, names)
            for watch in watches(project)
            if watch.function.name == function and (names := keys_in(arguments, watch.trigger.bucket))
        )


def _reopen(client: redis.Redis, watch: Watch, task_id: str, names: Sequence[str]) -> int:
    raw: Any = client.hmget(watch.ledger, list(names))
    swaps: list[scripts.Argument] = []
    for key, before in zip(names, raw, strict=True):
        entry = read(before)
        if entry and entry.state == "dead" and entry.invocation == task_id:
            swaps += [key, before, entry.moved(time.time(), state="pending", reason="").encode()]
    if not swaps:
        return 0
    packed = msgpack.packb(list(names))
    return int(scripts.run_text(client, _REOPEN, [watch.ledger, watch.flight], [task_id, packed, *swaps]))
