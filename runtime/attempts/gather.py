"""Gathered calls: sending what waits, running it with one call of the handler, and giving each its own end."""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import redis

from runtime import keys
from runtime.attempts.attempt import LEASE_MS, Attempt, Written, circuit_policy, finish, repeat, succeed_all
from runtime.attempts.failure import describe_error, speaks_against
from runtime.attempts.tally import Ended, nobody
from runtime.broker import scripts
from runtime.config.settings import Function
from runtime.deployment.deployment import Deployment
from runtime.errors import BatchFailure, HandlerError
from runtime.invocations.abandon import abandon
from runtime.invocations.invocation import decode, limits
from runtime.invocations.requeue import requeue
from runtime.invocations.retry import decide
from runtime.invocations.submit import carrier_message, carrier_policy, new_id, now_ms
from runtime.security.principal import DEFAULT_TENANT

MEMBERS = b"members"
"""The field by which a record is known as that of a gathered call."""

LOST_SECONDS = 10.0
_AT_ONCE = 500
log = logging.getLogger("tundish.gather")


def pump(
    client: redis.Redis, deployment: Deployment, function: str, priority: int, tenant: str = DEFAULT_TENANT
) -> bool:
    """Send what waits for one gathered call, if it is time."""
    deployed = deployment.functions.get(function)
    if deployed is None:
        return False
    spec, carrier, now = deployed.spec, new_id(), now_ms()
    arguments: list[scripts.Argument] = [
        keys.gather(function if tenant == DEFAULT_TENANT else f"{function}@{tenant}", priority),
        function,
        spec.queue,
        priority,
        carrier_policy(spec, carrier, tenant),
        carrier_message(spec, carrier, priority, now),
        keys.queue_list(spec.queue, keys.transport_priority(priority)),
    ]
    return bool(scripts.run(client, "gather_send", (), arguments))


def pump_all(client: redis.Redis, deployment: Deployment) -> None:
    """Look after every list in which calls wait to be gathered."""
    names: Any = client.smembers(keys.GATHERING)
    for name in names:
        pump(client, deployment, *_place(name))


def begin(client: redis.Redis, deployment: Deployment, carrier: Attempt, worker: str) -> list[Attempt]:
    """Begin the attempts of a gathered call's members."""
    retention = deployment.settings.project.retention
    found: Any = scripts.run(client, "gather_begin", (), [carrier.id, worker, LEASE_MS, *limits(retention)])
    attempts = []
    for task_id, *pairs in found:
        record = dict(zip(pairs[::2], pairs[1::2], strict=True))
        attempts.append(Attempt(task_id.decode(), int(record[b"fence"]), int(record[b"attempts"]), record))
    return attempts


def heir(carrier: Attempt, members: Sequence[Attempt]) -> Attempt:
    """The gathered call, after as many functions in a row as the furthest of its members: it escapes no count."""
    hops = max((member.hops for member in members), default=0)
    return replace(carrier, record={**carrier.record, b"hops": str(hops).encode()})


def end(client: redis.Redis, spec: Function, carrier: Attempt, *, bad: bool) -> list[str]:
    """The gathered call is over; gates at which others wait for its place."""
    found: Any = scripts.run(client, "gather_end", (), [carrier.id, carrier.fence, *circuit_policy(spec), int(bad)])
    return [gate.decode() for gate in found]


def scatter(client: redis.Redis, deployment: Deployment, carrier: str, fence: int, *, holder: bool = False) -> int:
    """The worker of a gathered call is gone: queue its members one by one; how many. `holder`: we have its lease."""
    members: Any = scripts.run(client, "gather_scatter", (), [carrier, fence, int(holder)])
    return sum(requeue(client, deployment, task_id.decode()) for task_id in members)


def reap(client: redis.Redis, deployment: Deployment) -> None:
    """Members whose gathered call is nowhere go on by themselves; those of functions that are gone end."""
    lost: Any = scripts.run(client, "gather_reap", (), [now_ms() - int(LOST_SECONDS * 1000), _AT_ONCE])
    for task_id in lost:
        if requeue(client, deployment, task_id.decode()):
            log.warning("%s put back: the call it was gathered into is gone", task_id.decode())
        else:
            _abandon(client, deployment, task_id)
    lists: Any = client.smembers(keys.GATHERING)
    for name in lists:
        if _place(name)[0] not in deployment.functions:
            waiting: Any = client.lrange(name, 0, _AT_ONCE - 1)
            ended = [task_id for task_id in waiting if _abandon(client, deployment, task_id)]
            scripts.run(client, "gather_drop", (), [name, *ended])


def _abandon(client: redis.Redis, deployment: Deployment, task_id: bytes) -> bool:
    """End a member of a function that is gone, when it is time; whether it has ended."""
    fields: Any = client.hgetall(keys.invocation(task_id.decode()))
    found = decode(task_id.decode(), fields)
    if found is None or found.terminal:
        return True
    return found.function not in deployment.functions and abandon(client, deployment, found, fields)


def _place(name: bytes) -> tuple[str, int, str]:
    """Function, priority and tenant of a list in which calls wait to be gathered."""
    whose, _, priority = name.decode().removeprefix(keys.gather("", 0)[:-2]).rpartition(":")
    function, _, tenant = whose.partition("@")
    return function, int(priority), tenant or DEFAULT_TENANT


def fail(
    client: redis.Redis, deployment: Deployment, spec: Function, carrier: Attempt, error: Exception, tally: Ended
) -> None:
    """End a gathered call in the place of its process, which is gone. Never waits for a broker that is away."""
    ends = Ends(client, deployment, spec, lambda *_: {}, tally)
    for task_id in carrier.record[MEMBERS].decode().split("\n"):
        record: Any = client.hgetall(keys.invocation(task_id))
        if record.get(b"state") == b"running" and record.get(b"carrier") == carrier.id.encode():
            member = Attempt(task_id, int(record[b"fence"]), int(record[b"attempts"]), record)
            ends.failed(member, error, patient=False)
    end(client, spec, carrier, bad=True)


class Ends:
    """Writes the ends of a gathered call's members, and tells the tally of them."""

    def __init__(
        self,
        client: redis.Redis,
        deployment: Deployment,
        spec: Function,
        store: Callable[[str, Any], dict[str, Any]],
        tally: Ended = nobody,
    ) -> None:
        self._client, self._spec, self._store = client, spec, store
        self._tally, self._began = tally, time.monotonic()
        self._retention = deployment.settings.project.retention
        self._dice = random.Random()  # noqa: S311 (spreads delays, keeps no secrets)

    def results(self, attempts: Sequence[Attempt], returned: Any) -> list[Written]:
        """Each its own result. Raises HandlerError where the handler did not answer for every item."""
        if not isinstance(returned, list | tuple) or len(returned) != len(attempts):
            found = f"{len(returned)} results" if isinstance(returned, list | tuple) else f"a {type(returned).__name__}"
            raise HandlerError(
                f"{self._spec.name} was given {len(attempts)} items and must return a list with as many "
                f"results, in their order; it returned {found}"
            )
        return self._results(zip(attempts, returned, strict=True))

    def partial(self, attempts: Sequence[Attempt], failure: BatchFailure) -> list[Written]:
        """Those that failed are repeated or end by themselves, the others have their results."""
        results = failure.results + [None] * (len(attempts) - len(failure.results))
        errors = [failure.error_of(position) for position in range(len(attempts))]
        good = [(attempt, value) for attempt, value, error in zip(attempts, results, errors, strict=True) if not error]
        bad = [(attempt, error) for attempt, error in zip(attempts, errors, strict=True) if error]
        return self._results(good) + [self.failed(attempt, error) for attempt, error in bad]

    def _results(self, values: Iterable[tuple[Attempt, Any]]) -> list[Written]:
        written, ends = [], []
        for attempt, value in values:
            try:
                ends.append((attempt, self._store(attempt.id, value)))
            except TypeError as error:  # what JSON cannot hold
                written.append(self.failed(attempt, error))
        done = succeed_all(self._client, self._spec, ends, self._retention)
        return written + [self._told(attempt, one) for (attempt, _), one in zip(ends, done, strict=True)]

    def failed(self, attempt: Attempt, error: BaseException, *, patient: bool = True) -> Written:
        told, bad = describe_error(error), speaks_against(error)
        allowed = not attempt.flag("no_retry")
        decision = decide(self._spec.retries, attempt.number, error, allowed=allowed, dice=self._dice)
        # The circuit hears of the gathered call once, at its end.
        if decision.state == "retrying":
            written = repeat(
                self._client,
                self._spec,
                attempt,
                decision,
                told,
                self._retention,
                patient=patient,
                bad=bad,
                silent=True,
            )
            return self._told(attempt, written, told["type"])
        fields = {"error": json.dumps(told)}
        written = finish(
            self._client, self._spec, attempt, decision.state, fields, self._retention, patient=patient, silent=True
        )
        return self._told(attempt, written, told["type"])

    def _told(self, attempt: Attempt, written: Written, error: str = "") -> Written:
        if written:
            self._tally(attempt, self._spec.name, written.state, time.monotonic() - self._began, error)
        return written
