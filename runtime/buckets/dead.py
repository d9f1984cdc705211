"""Dead letters: invocations that ended badly and are kept with payload, traceback, attempts and timings.

*dead* is what spent its retries; *failed* and *expired* can be listed and run again in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import redis

from runtime.broker import scripts
from runtime.broker.connection import translated
from runtime.buckets.reopen import reopen
from runtime.deployment.deployment import Deployment
from runtime.invocations import invocation as invocations
from runtime.invocations import listing as invocation_list
from runtime.invocations.blobs import Blobs
from runtime.invocations.index import Wanted
from runtime.invocations.invocation import Invocation
from runtime.invocations.repeat import arguments_of
from runtime.invocations.requeue import requeue

STATES = ("dead", "failed", "expired")
Barred = Callable[[Invocation], str | None]
"""Why whoever asks may do nothing with a letter, if so."""


@dataclass(slots=True)
class Done:
    """What became of each letter that was named: its id in `ids`, or the reason in `skipped`."""

    ids: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)


def redrive(
    client: redis.Redis,
    deployment: Deployment,
    blobs: Blobs,
    letters: Iterable[str],
    barred: Barred = lambda _: None,
) -> Done:
    """Run dead letters again, each under its own id with all its attempts before it; twice at once runs it once.

    Raises BrokerDown, StoreDown.
    """
    done = Done()
    for task_id in letters:
        record = invocations.read(client, task_id)
        reason = _unfit(record, barred)
        if record is None or reason:
            done.skipped[task_id] = reason or "it is not recorded"
        elif record.split:
            done.skipped[task_id] = "its objects were tried again in smaller batches; see `tundish buckets failed`"
        elif record.function not in deployment.functions:
            done.skipped[task_id] = f"there is no function {record.function} any more"
        elif _redrive(client, deployment, blobs, record):
            done.ids.append(task_id)
        else:
            done.skipped[task_id] = "somebody else was faster"
    return done


def purge(client: redis.Redis, letters: Iterable[str], barred: Barred = lambda _: None) -> Done:
    """Delete dead letters for good, with all that hangs on them. Raises BrokerDown."""
    done = Done()
    for task_id in letters:
        record = invocations.read(client, task_id)
        reason = _unfit(record, barred)
        if record is None or reason:
            done.skipped[task_id] = reason or "it is not recorded"
        else:
            with translated():
                scripts.run(client, "forget", (), [record.state, task_id])
            done.ids.append(task_id)
    return done


def select(client: redis.Redis, wanted: Wanted, limit: int) -> tuple[list[str], bool]:
    """Ids of at most `limit` letters, newest first, and whether there are more. Raises BrokerDown."""
    found: list[str] = []
    for record in _all(client, wanted):
        if len(found) == limit:
            return found, True
        found.append(record.id)
    return found, False


def _redrive(client: redis.Redis, deployment: Deployment, blobs: Blobs, record: Invocation) -> bool:
    """The ledger first: an invocation that ended before its objects were out again would leave them as they are.

    The triggers may settle them once more in between, by the old end; then the ledger is told a second time.
    """
    project = deployment.settings.project
    arguments = arguments_of(record, blobs) if record.trigger == "bucket" else {}
    reopen(client, project, record.function, record.id, arguments)
    with translated():
        if not requeue(client, deployment, record.id, reset=True):
            return False
    reopen(client, project, record.function, record.id, arguments)
    return True


def _unfit(record: Invocation | None, barred: Barred) -> str | None:
    if record is None:
        return "it is not recorded"
    return barred(record) if record.state in STATES else f"it is {record.state}"


def _all(client: redis.Redis, wanted: Wanted) -> Iterator[Invocation]:
    cursor: str | None = None
    while True:
        found = invocation_list.page(client, wanted, cursor=cursor, limit=200)
        yield from found.invocations
        cursor = found.cursor
        if cursor is None:
            return
