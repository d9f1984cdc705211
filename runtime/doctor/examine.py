"""The list of checks, and one examination: every check is made, whatever the others found."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import redis

from runtime.doctor import (
    broker,
    buckets,
    channel,
    clock,
    engines,
    host,
    indexes,
    keys,
    leftovers,
    model,
    parts,
    project,
    queues,
    store,
)
from runtime.doctor.finding import CannotTell, Finding, Unchecked, Verdicts
from runtime.doctor.patient import Patient
from runtime.errors import TundishError

Check = Callable[[Patient], Verdicts]

CHECKS: tuple[tuple[str, Check], ...] = (
    ("configuration", project.configuration),
    ("functions", project.functions),
    ("feedback loops", project.feedback),
    ("reload", project.reloaded),
    ("broker", broker.answers),
    ("broker version", broker.version),
    ("broker eviction", broker.eviction),
    ("broker persistence", broker.persistence),
    ("broker memory", broker.memory),
    ("broker clock", clock.of_broker),
    ("visibility timeout", channel.visibility),
    ("store", store.answers),
    ("store conditional PUT", store.conditional),
    ("store clock", clock.of_store),
    ("parts", parts.alive),
    ("queues", queues.consumed),
    ("notifications", buckets.notified),
    ("buckets", buckets.doing),
    ("indexes", indexes.loaded),
    ("engines", engines.there),
    ("model", model.weights),
    ("disk space", host.disk),
    ("open files", host.files),
    ("port", host.port),
    ("keys", keys.held),
    ("leftovers", leftovers.found),
)


def examine(patient: Patient, tell: Callable[[str], None] = lambda _: None) -> Iterator[Finding | Unchecked]:
    """Make every check, in order; `tell` hears of each before it is made. What cannot be checked is told as such."""
    for name, check in CHECKS:
        tell(name)
        try:
            for verdict in check(patient):
                yield Finding(name, verdict.state, verdict.found, verdict.mend)
        except CannotTell as error:
            yield Unchecked(name, str(error))
        except (TundishError, redis.RedisError, OSError) as error:  # it went away while it was looked at
            yield Unchecked(name, f"{type(error).__name__}: {error}")
