"""Which invocations may be in a list, newest first, by the narrowest index there is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from runtime import keys
from runtime.invocations.invocation import TERMINAL
from runtime.security.principal import DEFAULT_TENANT

MOST_EXAMINED = 5_000
"""Candidates that are looked at for one page."""

Mark = tuple[int, bytes]
"""A place in a list: milliseconds and id. Later marks come first."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a list shows. `since` and `until` are seconds since the epoch.

    They are about the end of an invocation where `state` is a terminal one (and the list is ordered by it), about
    its creation otherwise. `error` is part of the error's type or message, `text` of these, of the id, the name of
    the function or its trigger, whatever the case.
    """

    function: str | None = None
    state: str | None = None
    root: str | None = None
    since: float | None = None
    until: float | None = None
    error: str | None = None
    text: str | None = None
    tenant: str | None = None

    @property
    def by_end(self) -> bool:
        return self.state in TERMINAL and self.root is None

    def digest(self) -> str:
        told = json.dumps([self.function, self.state, self.root, self.error, self.text, self.tenant])
        return hashlib.sha256(told.encode()).hexdigest()[:8]


def candidates(client: redis.Redis, wanted: Wanted, anchor: Mark | None, size: int) -> Iterator[list[Mark]]:
    """Marks that come after `anchor`, in order, by the narrowest index there is."""
    if wanted.root is not None:
        yield from _walk(client, keys.tree(wanted.root), wanted, anchor, size)
        yield from _root(client, wanted, anchor)
        return
    if wanted.by_end:
        yield from _walk(client, keys.ended(str(wanted.state)), wanted, anchor, size)
        return
    base = keys.ALL if wanted.function is None else keys.by_function(wanted.function)
    if wanted.tenant not in (None, DEFAULT_TENANT):  # most calls are the default tenant's, which has no list
        base = keys.of_tenant(str(wanted.tenant))
    few = _few(client, wanted.state)
    if few is None:
        yield from _walk(client, base, wanted, anchor, size)
    elif few:
        yield from _sorted(few, client.zmscore(base, few), wanted, anchor, size)  # type: ignore[arg-type]


def _walk(client: redis.Redis, name: str, wanted: Wanted, anchor: Mark | None, size: int) -> Iterator[list[Mark]]:
    since: Any = "-inf" if wanted.since is None else int(wanted.since * 1000)
    until: Any = "+inf" if wanted.until is None else int(wanted.until * 1000)
    while True:
        top = until if anchor is None else anchor[0]
        raw: Any = client.zrevrangebyscore(name, top, since, start=0, num=size, withscores=True)
        marks = [(int(score), task_id) for task_id, score in raw]
        fresh = [mark for mark in marks if anchor is None or mark < anchor]
        if fresh:
            yield fresh
            anchor = fresh[-1]
        if len(marks) < size:
            return
        if not fresh:  # more of one millisecond than were asked for
            size *= 2


def _root(client: redis.Redis, wanted: Wanted, anchor: Mark | None) -> Iterator[list[Mark]]:
    """The root itself comes last: it is not in its tree, and it is older than all that is."""
    root = str(wanted.root)
    created: Any = client.hget(keys.invocation(root), "created")
    if created is not None and _within(int(created), wanted) and (anchor is None or anchor[1] != root.encode()):
        yield [(int(created), root.encode())]


def _sorted(
    ids: Sequence[bytes], scores: Sequence[float | None], wanted: Wanted, anchor: Mark | None, size: int
) -> Iterator[list[Mark]]:
    marks = [(int(score), task_id) for task_id, score in zip(ids, scores, strict=True) if score is not None]
    fit = (mark for mark in marks if _within(mark[0], wanted) and (anchor is None or mark < anchor))
    ordered = sorted(fit, reverse=True)
    yield from (ordered[at : at + size] for at in range(0, len(ordered), size))


def _few(client: redis.Redis, state: str | None) -> list[bytes] | None:
    """All ids that can be in a state that is not terminal, where they are few; else None.

    What runs or waits for a retry may have been created long ago, behind very many that have ended since.
    """
    if state == "running":
        names = [keys.RUNNING]
    elif state == "retrying":
        names = [keys.DUE]
    elif state == "accepted":
        gates: Any = client.smembers(keys.PARKED)
        names = [keys.DUE, *(keys.parked(gate.decode()) for gate in gates)]
    elif state == "queued":
        queued: Any = client.smembers(keys.QUEUED)
        names = [name.decode() for name in queued]
    else:
        return None
    with client.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.zcard(name)
        if sum(pipe.execute()) > MOST_EXAMINED:
            return None
        for name in names:
            pipe.zrange(name, 0, -1)
        return sorted({task_id for members in pipe.execute() for task_id in members})


def _within(moment: int, wanted: Wanted) -> bool:
    after = wanted.since is None or moment >= int(wanted.since * 1000)
    return after and (wanted.until is None or moment <= int(wanted.until * 1000))
