"""Lists of invocations, newest first, page by page, from the indexes that are written with every record.

A page does bounded work: it looks at no more than `MOST_EXAMINED` candidates, and reads of them only the fields it
filters by. A page may therefore be short and still have a cursor. New and ended invocations move nothing that a
cursor has passed: a place in the list is a time and an id, not a number.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from runtime import keys
from runtime.broker.connection import translated
from runtime.errors import TundishError
from runtime.invocations.index import MOST_EXAMINED, Mark, Wanted, candidates
from runtime.invocations.invocation import Invocation, decode

CHUNK = 500
_HEAVY = frozenset({b"arguments", b"result", b"parents"})


class BadCursor(TundishError):
    """This cursor belongs to no list, or to a list with other filters. Begin without a cursor."""


@dataclass(frozen=True, slots=True)
class Page:
    """`invocations` without arguments and results; `cursor` is None at the end of the list."""

    invocations: list[Invocation]
    cursor: str | None


def page(client: redis.Redis, wanted: Wanted, *, cursor: str | None = None, limit: int = 50) -> Page:
    """One page of a list. Raises BadCursor, BrokerDown."""
    with translated():
        ids, following = _select(client, wanted, _anchor(cursor, wanted), limit)
        return Page(_brief(client, ids), _cursor(following, wanted) if following else None)


def brief(client: redis.Redis, task_ids: Iterable[str]) -> list[Invocation]:
    """Those of these records that are there, without their arguments and results. Raises BrokerDown."""
    with translated():
        return _brief(client, [task_id.encode() for task_id in task_ids])


def _select(client: redis.Redis, wanted: Wanted, anchor: Mark | None, limit: int) -> tuple[list[bytes], Mark | None]:
    """The ids of a page, and the mark of the last one looked at when there may be more."""
    found: list[Mark] = []
    examined = 0
    for marks in candidates(client, wanted, anchor, CHUNK if _filters(wanted) else min(CHUNK, limit + 1)):
        for mark in _fitting(client, wanted, marks):
            if len(found) == limit:
                return [task_id for _, task_id in found], found[-1]
            found.append(mark)
        examined += len(marks)
        if examined >= MOST_EXAMINED:
            return [task_id for _, task_id in found], marks[-1]
    return [task_id for _, task_id in found], None


def _filters(wanted: Wanted) -> bool:
    """Whether the index that is walked has others, too, than those that are wanted."""
    state = None if wanted.by_end else wanted.state
    function = wanted.function if wanted.by_end or wanted.root is not None or wanted.tenant is not None else None
    return any(value is not None for value in (state, function, wanted.error, wanted.text, wanted.tenant))


def _fitting(client: redis.Redis, wanted: Wanted, marks: Sequence[Mark]) -> Iterator[Mark]:
    """Those whose records are as they are wanted; only the fields that matter are read."""
    words = ["error", "trigger"] if wanted.error or wanted.text else []
    with client.pipeline(transaction=False) as pipe:
        for _, task_id in marks:
            pipe.hmget(keys.invocation(task_id.decode()), ["state", "function", "tenant", *words])
        answers: list[Any] = pipe.execute()
    for mark, (state, function, tenant, *told) in zip(marks, answers, strict=True):
        if state is None or (wanted.state is not None and state.decode() != wanted.state):
            continue
        if wanted.function is not None and function.decode() != wanted.function:
            continue
        if wanted.tenant is not None and (tenant or b"").decode() != wanted.tenant:
            continue
        if told and not _says(wanted, mark[1], function, *told):
            continue
        yield mark


def _says(wanted: Wanted, task_id: bytes, function: bytes, error: bytes | None, trigger: bytes | None) -> bool:
    """Whether the words that are looked for are in a record."""
    failed = json.loads(error) if error else {}
    summary = f"{failed.get('type', '')}: {failed.get('message', '')}".casefold() if failed else ""
    whole = f"{task_id.decode()}\n{function.decode()}\n{(trigger or b'').decode()}".casefold()
    return (wanted.error or "").casefold() in summary and (wanted.text or "").casefold() in f"{whole}\n{summary}"


def _brief(client: redis.Redis, ids: Sequence[bytes]) -> list[Invocation]:
    """Records without what may be large. A record that left meanwhile is left out."""
    with client.pipeline(transaction=False) as pipe:
        for task_id in ids:
            pipe.hkeys(keys.invocation(task_id.decode()))
        light = [[name for name in names if name not in _HEAVY] for names in pipe.execute()]
        known = [(task_id, names) for task_id, names in zip(ids, light, strict=True) if names]
        for task_id, names in known:
            pipe.hmget(keys.invocation(task_id.decode()), names)
        answers: list[Any] = pipe.execute()
    found = []
    for (task_id, names), values in zip(known, answers, strict=True):
        fields = {name: value for name, value in zip(names, values, strict=True) if value is not None}
        record = decode(task_id.decode(), fields) if b"state" in fields else None
        if record:
            found.append(record)
    return found


def _cursor(mark: Mark, wanted: Wanted) -> str:
    told = json.dumps([mark[0], mark[1].decode(), wanted.digest()], separators=(",", ":"))
    return base64.urlsafe_b64encode(told.encode()).decode().rstrip("=")


def _anchor(cursor: str | None, wanted: Wanted) -> Mark | None:
    if cursor is None:
        return None
    try:
        moment, task_id, digest = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        mark = (int(moment), str(task_id).encode())
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise BadCursor from error
    if digest != wanted.digest():
        raise BadCursor
    return mark
