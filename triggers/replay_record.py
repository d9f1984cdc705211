"""How far one replay got with one trigger, as it is kept in Redis: a process that dies is followed by another one."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Sequence
from typing import Any, NoReturn

import redis

from runtime import keys
from runtime.broker import scripts
from runtime.buckets import replays
from runtime.buckets.replays import Wish
from runtime.buckets.watch import Watch

_LOCK_MS = 5000  # after a process that died another one goes on so much later
_RENEW_SECONDS = 1.0
MOST_FAILURES = 5
"""So many failed objects are named."""

# KEYS: lock, job, open keys.  ARGV: token, ms, count of fields, count of new keys, field, value, …, new key, …, closed
# key, …  Only who holds the lock, or finds it free, writes; nobody writes to a job that has ended.
_SAVE = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
local state = redis.call('HGET', KEYS[2], 'state')
if state ~= 'counting' and state ~= 'running' then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
local last = 4 + 2 * tonumber(ARGV[3])
for i = 5, last, 2 do redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end
local opened = last + tonumber(ARGV[4])
for i = last + 1, opened do redis.call('SADD', KEYS[3], ARGV[i]) end
for i = opened + 1, #ARGV do redis.call('SREM', KEYS[3], ARGV[i]) end
return 1
"""


class NotOurs(Exception):
    """Another process works on this job, or it has ended."""


class Record:
    """The state of a job. What is changed here counts when `save` has written it. Raises NotOurs and redis errors."""

    def __init__(self, client: redis.Redis, watch: Watch, replay_id: str) -> None:
        self._client, self._trigger = client, watch.name
        self.id = replay_id
        self._job = keys.replay_job(replay_id, watch.name)
        self._open_name = keys.replay_open(replay_id, watch.name)
        self._lock, self._token = keys.lock(f"replay:{replay_id}:{watch.name}"), uuid.uuid4().hex
        self._renewed = 0.0
        self.wish = Wish("")
        self.state, self.cursor, self.begun = "counting", "", 0.0
        self.seq = 0
        """What was handed out with a higher number was handed out since the replay began."""
        self.total = self.settled = self.failed = 0
        self.failures: list[dict[str, str]] = []
        self.open: dict[str, str | None] = {}
        """Keys that are not settled, with the content that was handed out: "" not yet, None nobody has looked."""

    def take(self) -> None:
        """Become the one who works on it, where nobody does, and read how far it got."""
        self.hold()
        job: Any = self._client.hgetall(self._job)
        fields = {name.decode(): value.decode() for name, value in job.items()}
        asked: Any = self._client.hget(keys.replay(self.id), "wish")
        self.wish = Wish(**json.loads(asked or '{"bucket": ""}'))
        self.state, self.cursor = fields["state"], fields.get("cursor", "")
        self.begun, self.seq = float(fields.get("begun", 0)), int(fields.get("seq", 0))
        if self.state == "running":  # else they are counted anew
            self.total = int(fields["total"])
        self.settled = int(fields.get("settled", 0))
        self.failed, self.failures = int(fields.get("failed", 0)), json.loads(fields.get("failures", "[]"))
        found: Any = self._client.smembers(self._open_name)
        self.open = {key.decode(): None for key in found}

    def hold(self) -> None:
        """Go on holding it."""
        if time.monotonic() - self._renewed > _RENEW_SECONDS:
            self._write({}, (), ())

    def save(self, opened: Sequence[str] = (), closed: Sequence[str] = ()) -> None:
        """Write it down, with keys that have become open or are settled."""
        for key in opened:
            self.open[key] = None
        for key in closed:
            del self.open[key]
        fields = {
            "state": self.state,
            "cursor": self.cursor,
            "begun": self.begun,
            "seq": self.seq,
            "total": self.total,
            "handed": self.settled + len(self.open),
            "settled": self.settled,
            "failed": self.failed,
            "failures": json.dumps(self.failures),
        }
        self._write(fields, opened, closed)

    def count(self, key: str, failed: bool, reason: str) -> None:
        """One of its objects has ended."""
        self.settled += 1
        if failed:
            self.failed += 1
            if len(self.failures) < MOST_FAILURES:
                self.failures.append({"key": key, "reason": reason})

    def end(self, state: str, reason: str = "") -> NoReturn:
        """Nothing is left to be done."""
        replays.end(self._client, self.id, self._trigger, state, reason)
        self.release()
        raise NotOurs

    def release(self) -> None:
        """Let another process go on with it now."""
        if self._client.get(self._lock) == self._token.encode():
            self._client.delete(self._lock)

    def _write(self, fields: dict[str, Any], opened: Sequence[str], closed: Sequence[str]) -> None:
        flat = [part for pair in fields.items() for part in pair]
        arguments = [self._token, _LOCK_MS, len(fields), len(opened), *flat, *opened, *closed]
        names = [self._lock, self._job, self._open_name]
        if not scripts.run_text(self._client, _SAVE, names, arguments):
            raise NotOurs
        self._renewed = time.monotonic()
