"""One attempt of an invocation, seen from the worker: claim it, and write its end behind the fence."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack
import redis

from runtime.broker import scripts
from runtime.config.settings import Function, Retention
from runtime.invocations import admission, packed_arguments
from runtime.invocations.invocation import limits
from runtime.invocations.retry import Decision

LEASE_MS = 10_000
"""A running attempt that is not renewed for this long belongs to a dead worker. Renewed every two seconds."""

OUTAGE_SECONDS = 300.0
"""How long a finished attempt waits for a broker that is away, before its result is given up to a new attempt."""

NO_MORE = 2
"""What `suspend` answers where the children have all ended by then."""

TOGETHER = 64
"""Ends that go to the broker in one round trip: it answers nobody else meanwhile."""

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

    @property
    def hops(self) -> int:
        return int(self.record.get(b"hops", 0))

    def flag(self, name: str) -> bool:
        return name.encode() in self.record

    def text(self, name: str) -> str:
        return self.record.get(name.encode(), b"").decode()

    def seconds(self, name: str) -> float | None:
        """A moment of the record, in seconds since the epoch."""
        value = self.record.get(name.encode())
        return int(value) / 1000 if value else None

    def arguments(self) -> dict[str, Any]:
        return packed_arguments.unpack(self.record[b"arguments"])

    def parents(self) -> list[dict[str, Any]]:
        result: list[dict[str, Any]] = msgpack.unpackb(
            self.record.get(b"parents", b"\x90"), raw=False, strict_map_key=False
        )
        return result


@dataclass(frozen=True, slots=True)
class Written:
    """What a write of an attempt's end did. False as a truth value: it was fenced off, another attempt's stands.

    `state` is what was written (`cancelled` where a stop was asked for), `parent` an invocation that may go on now,
    `gates` those at which others wait for the place that became free.
    """

    state: str = ""
    parent: str = ""
    gates: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.state)


def claim(
    client: redis.Redis,
    task_id: str,
    worker: str,
    spec: Function | None = None,
    retention: Retention | None = None,
    *,
    version: str = "",
) -> Attempt | str:
    """Begin an attempt, or say why not: 'missing', 'ended', 'held' (somebody else runs it) or 'waiting'.

    `version` is that of the worker's code.
    """
    policy = admission.policy(spec) if spec else ""
    arguments: list[scripts.Argument] = [task_id, worker, LEASE_MS, *limits(retention or Retention()), policy, version]
    answer = scripts.run(client, "claim", (), arguments)
    verdict: str = answer[0].decode()
    if verdict != "run":
        return verdict
    record = dict(zip(answer[1::2], answer[2::2], strict=True))
    return Attempt(task_id, int(record[b"fence"]), int(record[b"attempts"]), record)


def finish(
    client: redis.Redis,
    spec: Function,
    attempt: Attempt,
    state: str,
    fields: Mapping[str, str | bytes],
    retention: Retention | None = None,
    *,
    patient: bool = True,
    bad: bool = False,
    silent: bool = False,
) -> Written:
    """Write a terminal state, tell who waits, and leave the word for the next in the chain.

    `patient` waits for a broker that is away; `bad` speaks against the function's circuit, `silent` says nothing to it.
    """
    arguments = _of_end(spec, attempt, state, fields, retention, bad=bad, silent=silent)
    return _write(client, "finish", arguments, attempt.id, patient)


def packed_end(spec: Function, attempt: Attempt, fields: Mapping[str, str | bytes], retention: Retention) -> bytes:
    """The command that writes a success, for whoever has a connection to send it. Its answer: see `read_written`."""
    arguments = _of_end(spec, attempt, "succeeded", fields, retention)
    return scripts.packed("EVALSHA", scripts.sha(scripts.source("finish")), 0, *arguments)


def succeed_all(
    client: redis.Redis,
    spec: Function,
    ends: Sequence[tuple[Attempt, Mapping[str, str | bytes]]],
    retention: Retention,
) -> list[Written]:
    """Write the results of several attempts in their order, `TOGETHER` in a round trip, which the broker writes to its
    disk at once. It waits for a broker that is away."""
    text, written = scripts.source("finish"), list[Written]()
    for first in range(0, len(ends), TOGETHER):
        part = ends[first : first + TOGETHER]
        asked = [_of_end(spec, attempt, "succeeded", fields, retention) for attempt, fields in part]

        def write(asked: Sequence[Sequence[scripts.Argument]] = asked) -> list[Any]:
            with client.pipeline(transaction=False) as pipe:
                pipe.script_load(text)
                for arguments in asked:
                    pipe.evalsha(scripts.sha(text), 0, *arguments)
                return pipe.execute()[1:]

        written += map(read_written, _through_outage(write, part[0][0].id))
    return written


def _of_end(
    spec: Function,
    attempt: Attempt,
    state: str,
    fields: Mapping[str, str | bytes],
    retention: Retention | None,
    *,
    bad: bool = False,
    silent: bool = False,
) -> list[scripts.Argument]:
    """The arguments of the script that writes an end."""
    follower, member = _follow(spec, attempt, state, fields)
    arguments: list[scripts.Argument] = [
        attempt.id,
        attempt.fence,
        state,
        *limits(retention or Retention()),
        follower,
        member,
        *((0, 0, 0) if silent else circuit_policy(spec)),
        int(bad),
    ]
    for name, value in fields.items():
        arguments += [name, value]
    return arguments


def repeat(
    client: redis.Redis,
    spec: Function,
    attempt: Attempt,
    decision: Decision,
    error: Mapping[str, Any],
    retention: Retention | None = None,
    *,
    patient: bool = True,
    bad: bool = True,
    silent: bool = False,
) -> Written:
    """Leave an attempt to be repeated after `decision.delay` seconds."""
    arguments: list[scripts.Argument] = [
        attempt.id,
        attempt.fence,
        int(decision.delay * 1000),
        *limits(retention or Retention()),
        *((0, 0, 0) if silent else circuit_policy(spec)),
        int(bad),
        "error",
        json.dumps(error),
    ]
    return _write(client, "retry", arguments, attempt.id, patient)


def suspend(client: redis.Redis, attempt: Attempt, fan: str, retention: Retention) -> int:
    """Give the slot back until the children of `fan` have ended: 1, or NO_MORE; 0: fenced off."""
    arguments: list[scripts.Argument] = [attempt.id, attempt.fence, fan, *limits(retention)]
    return int(_through_outage(lambda: scripts.run(client, "suspend", (), arguments), attempt.id))


def stopped(client: redis.Redis, retention: Retention, task_id: str, worker: str) -> bool:
    """Write the end of an attempt that its worker has stopped because it was asked to. False: there is none."""
    return bool(scripts.run(client, "stopped", (), [task_id, worker, *limits(retention)]))


def circuit_policy(spec: Function) -> tuple[int, int, int]:
    """{failures, window, open} as the scripts read them, in ms; zeros for a function without one."""
    policy = spec.circuit
    return (policy.failures, int(policy.window * 1000), int(policy.open * 1000)) if policy else (0, 0, 0)


def _write(client: redis.Redis, script: str, arguments: list[scripts.Argument], task_id: str, patient: bool) -> Written:
    def write() -> Any:
        return scripts.run(client, script, (), arguments)

    return read_written(_through_outage(write, task_id) if patient else write())


def read_written(answer: Any) -> Written:
    """What the script that writes an end has answered."""
    if not answer[0]:
        return Written()
    state, parent, *gates = (part.decode() for part in answer[1:])
    return Written(state, parent, tuple(gates))


def _follow(spec: Function, attempt: Attempt, state: str, fields: Mapping[str, str | bytes]) -> tuple[str, bytes]:
    """Which function comes next, and what it is told of this invocation."""
    if state == "succeeded" and spec.on_success:
        follower, result = spec.on_success.function, fields.get("result", b"null")
    elif state in ("failed", "dead") and spec.on_failure != "dead_letter":
        follower, result = spec.on_failure, fields.get("error", b"null")
    else:
        return "", b""
    if attempt.flag("no_chain") or (attempt.flag("split") and state != "succeeded"):
        return "", b""
    told = {
        "id": attempt.id,
        "function": spec.name,
        "root": attempt.text("root"),
        "tenant": attempt.text("tenant"),
        "trace": attempt.text("trace") or None,
        "hops": attempt.hops,
        "state": state,
        "result": result,
        "result_ref": fields.get("result_ref"),
        "result_type": fields.get("result_type"),
        "at": time.time(),
    }
    return follower, msgpack.packb(told, use_bin_type=True)


def _through_outage(write: Callable[[], Any], task_id: str) -> Any:
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
