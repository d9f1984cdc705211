"""What one trigger did about every key of its bucket, kept in Redis; every change is one atomic step.

All writes compare first: a step names the entry it has read for each key and happens only if none has moved
since, so several `triggers` processes can look at the same keys and still do nothing twice. Nothing else needs
a lock: a claim (pending + the invocation's record + its message) is one script call, and so is a settlement.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack
import redis

from runtime import keys
from runtime.broker import scripts
from runtime.buckets import entry
from runtime.buckets.entry import Entry
from runtime.buckets.watch import Watch
from triggers.budget import SPEND, Budget

_LOST_SECONDS = 7 * 86400
_KEPT_SECONDS = 90 * 86400
"""How long a ledger outlives the last listing of its bucket: that of a trigger which is gone leaves some day."""

# The first part is shared: KEYS/GKEYS are ledger, flight; per key the ARGV are key, entry that was read, new entry.
_SWAP = """
local function unmoved(ledger, argv, first)
  for i = first, #argv, 3 do
    if (redis.call('HGET', ledger, argv[i]) or '') ~= argv[i + 1] then return false end
  end
  return true
end
local function write(ledger, argv, first)
  for i = first, #argv, 3 do
    if argv[i + 2] == '' then redis.call('HDEL', ledger, argv[i])
    else redis.call('HSET', ledger, argv[i], argv[i + 2]) end
  end
end
"""
# GKEYS: ledger, flight, budget.  GARGV: id, most batches that may be out, packed keys, four of the budget, …
CLAIM = (
    _SWAP
    + SPEND
    + """
if redis.call('HLEN', GKEYS[2]) >= tonumber(GARGV[2]) then return false end
if not unmoved(GKEYS[1], GARGV, 8) or not spend(GKEYS[3], unpack(GARGV, 4, 7)) then return false end
write(GKEYS[1], GARGV, 8)
redis.call('HSET', GKEYS[2], GARGV[1], GARGV[3])
return true
"""
)
# KEYS: ledger, flight, events.  ARGV: id to take off the flight list or '', cap of events, count of hints, hint…, …
_SETTLE = (
    _SWAP
    + """
if ARGV[1] ~= '' and redis.call('HEXISTS', KEYS[2], ARGV[1]) == 0 then return 1 end
local hints = tonumber(ARGV[3])
if not unmoved(KEYS[1], ARGV, 4 + hints) then return 0 end
write(KEYS[1], ARGV, 4 + hints)
if ARGV[1] ~= '' then redis.call('HDEL', KEYS[2], ARGV[1]) end
local now = redis.call('TIME')[1]
for i = 4, 3 + hints do
  redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[2], '*', 'source', 'gateway', 'body', ARGV[i], 'at', now)
end
return 1
"""
)


@dataclass(frozen=True, slots=True)
class Known:
    """A key's entry with the very bytes it was read from (empty: no entry), which a later change is compared to."""

    raw: bytes
    entry: Entry | None


@dataclass(frozen=True, slots=True)
class Change:
    """One key's new entry (None: take it off), valid only while its entry is still the one that was read."""

    key: str
    before: Known
    after: Entry | None

    def arguments(self) -> tuple[str, bytes, bytes]:
        return self.key, self.before.raw, b"" if self.after is None else self.after.encode()


class Ledger:
    """The entries of one trigger in its bucket, and the batches it has out. Raises redis errors."""

    def __init__(self, client: redis.Redis, watch: Watch) -> None:
        self._client, self._watch = client, watch
        self.budget = Budget(client, watch)

    def was_listed(self) -> bool:
        """Whether the broker knows of a complete listing, which it keeps at least as long as the entries."""
        return bool(self.last_listing()["ended"])

    def read(self, names: Sequence[str]) -> list[Known]:
        """The entries of these keys, in order, in one call."""
        if not names:
            return []
        values: Any = self._client.hmget(self._watch.ledger, list(names))
        return [_known(value) for value in values]

    def pages(self, size: int = 1000) -> Iterator[list[tuple[str, Known]]]:
        """The whole ledger, about `size` keys at a time. A key may come twice, and none is left out."""
        cursor = 0
        while True:
            found: Any
            cursor, found = self._client.hscan(self._watch.ledger, cursor, count=size)
            yield [(name.decode(), _known(raw)) for name, raw in found.items()]
            if not cursor:
                return

    def flights(self) -> dict[str, list[str]]:
        """Batches that are out, by invocation: the keys that went with each."""
        found: Any = self._client.hgetall(self._watch.flight)
        return {task_id.decode(): msgpack.unpackb(packed) for task_id, packed in found.items()}

    def out(self) -> set[str]:
        """The invocations of the batches that are out."""
        found: Any = self._client.hkeys(self._watch.flight)
        return {task_id.decode() for task_id in found}

    def claim_arguments(self, task_id: str, limit: int, changes: Sequence[Change]) -> tuple[list[str], list[Any]]:
        """Keys and arguments of CLAIM, the guard of the call that records `task_id`."""
        packed = msgpack.packb([change.key for change in changes])
        rest = [part for change in changes for part in change.arguments()]
        spent = self.budget.arguments(len(changes), sum(change.after.size for change in changes if change.after))
        return [self._watch.ledger, self._watch.flight, self.budget.key], [task_id, limit, packed, *spent, *rest]

    def apply(self, changes: Sequence[Change], *, landed: str = "", hints: Iterable[str] = ()) -> bool:
        """Write all changes or, when one of the entries has moved since it was read, none (False).

        `landed` also takes that batch off the list of those that are out (and does nothing when somebody else has
        done so); `hints` are keys to look at again, put into the stream of events in the same step.
        """
        bodies = [
            json.dumps({"bucket": self._watch.trigger.bucket, "key": key, "event": "again"})
            for key in dict.fromkeys(hints)
        ]
        rest = [part for change in changes for part in change.arguments()]
        arguments: list[Any] = [landed, keys.EVENTS_CAP, len(bodies), *bodies, *rest]
        names = [self._watch.ledger, self._watch.flight, keys.EVENTS]
        return bool(scripts.run_text(self._client, _SETTLE, names, arguments))

    def note_lost(self, objects: int) -> None:
        """The ledger was lost, and so many objects were handed out again."""
        told = json.dumps({"at": time.time(), "objects": objects})
        self._client.set(keys.lost(self._watch.name, self._watch.trigger.bucket), told, ex=_LOST_SECONDS)

    # A held loss, and the times of the listings, are shared by all processes that watch this bucket.

    def hold(self) -> dict[str, Any] | None:
        raw: Any = self._client.get(self._watch.hold)
        return json.loads(raw) if raw else None

    def set_hold(self, count: int, known: int) -> None:
        told = {
            "bucket": self._watch.trigger.bucket,
            "trigger": self._watch.name,
            "count": count,
            "known": known,
            "at": time.time(),
            "confirmed": False,
        }
        self._client.set(self._watch.hold, json.dumps(told), nx=True)

    def lift_hold(self) -> bool:
        """Take the hold away; True where there was one."""
        return bool(self._client.delete(self._watch.hold))

    def last_listing(self) -> Mapping[str, float]:
        """`ended` (epoch seconds) and `took` (seconds of work) of the newest complete listing, 0 before the first."""
        raw: Any = self._client.get(keys.listing(self._watch.name, self._watch.trigger.bucket))
        return json.loads(raw) if raw else {"ended": 0.0, "took": 0.0}

    def note_listing(self, took: float, objects: int) -> None:
        told = json.dumps({"ended": time.time(), "took": took, "objects": objects})
        with self._client.pipeline(transaction=False) as pipe:
            pipe.set(keys.listing(self._watch.name, self._watch.trigger.bucket), told, ex=_KEPT_SECONDS)
            pipe.expire(self._watch.ledger, _KEPT_SECONDS)
            pipe.execute()


def _known(raw: bytes | None) -> Known:
    return Known(raw or b"", entry.read(raw))
