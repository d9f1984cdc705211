"""How far the migration of an index is, for people: a hash in Redis. What is done is told by the store alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any, cast

import redis

from runtime import keys
from runtime.broker.connection import translated

RUNNING, DONE, FAILED, CANCELLED = "running", "done", "failed", "cancelled"

# Only the run that began last may write: KEYS[1] the hash; ARGV: the run, then field, value …
_UPDATE = """
if redis.call('HGET', KEYS[1], 'run') ~= ARGV[1] or redis.call('HGET', KEYS[1], 'state') == 'cancelled' then
  return 0
end
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
return 1
"""


@dataclass(frozen=True, slots=True)
class Status:
    """`run` is the call that began it, `task` the one that works on it. `done` of `total` batches are embedded.

    `model` is what was asked for, `identity` what it is, as soon as a call works on it. Times are seconds since the
    epoch.
    """

    index: str
    run: str
    task: str
    model: str
    state: str
    identity: str = ""
    done: int = 0
    total: int = 0
    began: float = 0.0
    updated: float = 0.0
    message: str = ""


class MigrationState:
    """The newest migration of one index."""

    def __init__(self, client: redis.Redis, index: str, clock: Callable[[], float] = time.time) -> None:
        self._client, self._index, self._clock = client, index, clock
        self._key = keys.index_migration(index)

    def read(self) -> Status | None:
        """None where there was none, or where the broker has lost it."""
        with translated():
            stored = cast(dict[bytes, bytes], self._client.hgetall(self._key))
        if not stored:
            return None
        values: dict[str, Any] = {name.decode(): value.decode() for name, value in stored.items()}
        kinds = {field.name: field.type for field in fields(Status)}
        casts: dict[object, Callable[[str], Any]] = {"int": int, "float": float, "str": str}
        return Status(**{name: casts[kinds[name]](value) for name, value in values.items() if name in kinds})

    def begin(self, run: str, task: str, model: str, identity: str = "") -> bool:
        """Make `run` the one that works; false where it was cancelled or another one began after it.

        The first call of a run is `run` itself: it takes the place of whatever was there.
        """
        known = self.read()
        if run != task and known and (known.run != run or known.state == CANCELLED):
            return False
        if known and known.run == run:  # the next step, or the first one again after a crash
            return known.state != CANCELLED and self.update(
                run, state=RUNNING, task=task, identity=identity, message=""
            )
        now = self._clock()
        status = Status(self._index, run, task, model, RUNNING, identity, began=now, updated=now)
        with translated():
            self._client.hset(self._key, mapping=cast(Any, asdict(status)))
        return True

    def update(self, run: str, **changes: str | int) -> bool:
        """Say how far it is; false where the run is not the one that is wanted any more."""
        arguments = [word for name, value in changes.items() for word in (name, value)]
        with translated():
            wanted = self._client.eval(_UPDATE, 1, self._key, run, *arguments, "updated", repr(self._clock()))
        return bool(wanted)

    def cancel(self) -> Status | None:
        """End it before its next batch; what it was before."""
        known = self.read()
        if known and known.state == RUNNING:
            self.update(known.run, state=CANCELLED)
        return known
