"""One attempt of an invocation, seen from the worker: claim it, and write its end behind the fence."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgpack
import redis

from runtime import keys, scripts
from runtime.config import Function
from runtime.invocations import ENDED_CAP, kept_seconds
from runtime.retry import Decision

LEASE_MS = 10_000
"""A running attempt that is not renewed for this long belongs to a dead worker. Renewed every two seconds."""

OUTAGE_SECONDS = 300.0
"""How long a finished attempt waits for a broker that is away, before its result is given up to a new attempt."""

log = logging.getLogger("tundish.task")


@dataclass(frozen=True, slots=True)
class Attempt:
    """A claimed attempt: its fence, and the record as it was when it was claimed."""

    id: str
    fence: int
    number: int
    record: Mapping[bytes, bytes]

    @property
    def lost(self) -> int:
        """How many earlier attempts ended with their worker."""
        return int(self.record.get(b"lost", 0))

    def flag(self, name: str) -> bool:
        return name.encode() in self.record

    def text(self, name: str) -> str:
        return self.record.get(name.encode(), b"").decode()

    def arguments(self) -> dict[str, Any]:
        result: dict[str, Any] = msgpack.unpackb(self.record[b"arguments"], raw=False, strict_map_key=False)
        return result

    def parents(self) -> list[dict[str, Any]]:
        result: list[dict[str, Any]] = msgpack.unpackb(
            self.record.get(b"parents", b"\x90"), raw=False, strict_map_key=False
        )
        return result


def claim(client: redis.Redis, task_id: str, worker: str) -> Attempt | str:
    """Begin an attempt, or say why not: 'missing', 'ended', 'held' (somebody else runs it) or 'waiting'."""
    names = [keys.invocation(task_id), keys.RUNNING]
    answer = scripts.run(client, "claim", names, [task_id, worker, LEASE_MS, f"{keys.QUEUED}:"])
    verdict: str = answer[0].decode()
    if verdict != "run":
        return verdict
    record = dict(zip(answer[1::2], answer[2::2], strict=True))
    return Attempt(task_id, int(record[b"fence"]), int(record[b"attempts"]), record)


def finish(
    client: redis.Redis, spec: Function, attempt: Attempt, state: str, fields: Mapping[str, str | bytes]
) -> bool:
    """Write a terminal state, tell who waits, and leave the word for the next in the chain. False: fenced off."""
    follower, member = _follow(spec, attempt, state, fields)
    names = [
        keys.invocation(attempt.id),
        keys.RUNNING,
        keys.ended(state),
        keys.TOTALS,
        keys.CHAINS,
        keys.chain(follower),
        keys.chain_active(spec.name),
        keys.chain_ended(spec.name),
    ]
    arguments: list[scripts.Argument] = [
        attempt.id,
        attempt.fence,
        state,
        int(kept_seconds(state) * 1000),
        ENDED_CAP,
        spec.name,
        keys.invocation(""),
        keys.ENDED_CHANNEL,
        attempt.text("reply_to"),
        member,
    ]
    for name, value in fields.items():
        arguments += [name, value]
    return _through_outage(lambda: bool(scripts.run(client, "finish", names, arguments)), attempt.id)


def repeat(client: redis.Redis, attempt: Attempt, decision: Decision, error: Mapping[str, Any]) -> bool:
    """Leave an attempt to be repeated after `decision.delay` seconds. False: fenced off."""
    names = [keys.invocation(attempt.id), keys.RUNNING, keys.DUE]
    arguments: list[scripts.Argument] = [
        attempt.id,
        attempt.fence,
        int(decision.delay * 1000),
        "error",
        json.dumps(error),
    ]
    return _through_outage(lambda: bool(scripts.run(client, "retry", names, arguments)), attempt.id)


def _follow(spec: Function, attempt: Attempt, state: str, fields: Mapping[str, str | bytes]) -> tuple[str, bytes]:
    """Which function comes next, and what it is told of this invocation."""
    if attempt.flag("no_chain"):
        return "", b""
    if state == "succeeded" and spec.on_success:
        follower, result = spec.on_success.function, fields.get("result", b"null")
    elif state in ("failed", "dead") and spec.on_failure != "dead_letter":
        follower, result = spec.on_failure, fields.get("error", b"null")
    else:
        return "", b""
    told = {
        "id": attempt.id,
        "function": spec.name,
        "root": attempt.text("root"),
        "tenant": attempt.text("tenant"),
        "state": state,
        "result": result,
        "at": time.time(),
    }
    return follower, msgpack.packb(told, use_bin_type=True)


def _through_outage(write: Callable[[], bool], task_id: str) -> bool:
    """Do a write that must not be lost: work that is done waits for a broker that is away."""
    give_up = time.monotonic() + OUTAGE_SECONDS
    pause = 0.1
    while True:
        try:
            return write()
        except (redis.ConnectionError, redis.TimeoutError) as error:
            if time.monotonic() > give_up:
                raise
            log.warning("%s is done, but the broker is away (%s); waiting", task_id, type(error).__name__)
            time.sleep(pause)
            pause = min(2.0, pause * 2)
