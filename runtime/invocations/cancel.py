"""Cancelling an invocation, and what its children do for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import redis
import redis.asyncio

from runtime import keys
from runtime.broker import scripts
from runtime.broker.connection import translated
from runtime.config.settings import Retention
from runtime.deployment.deployment import Deployment
from runtime.invocations.invocation import limits

Family = dict[str, list[str]]
"""Parent → its children, in one tree."""

_CHUNK = 500


def cancel(client: redis.Redis, deployment: Deployment, task_id: str, reason: str = "") -> str:
    """Cancel an invocation that has not ended. Raises BrokerDown.

    Answers 'cancelled' (it waited, and is over), 'stopping' (it runs; its worker is told, and writes the end),
    'missing', or the terminal state it has already. Children that it waits for, or would, are cancelled with it.
    """
    retention = deployment.settings.project.retention
    with translated():
        verdict, *children = scripts.run(client, "cancel", (), _arguments(retention, task_id, reason))
        family = _family(client, task_id) if children else {}
        parents = [task_id]
        while parents:
            parent = parents.pop()
            for child in family.get(parent, ()):
                told = _arguments(retention, child, _inherited(parent))
                if len(scripts.run(client, "cancel", (), told)) > 1:
                    parents.append(child)
    return str(verdict.decode())


async def cancel_async(client: redis.asyncio.Redis, deployment: Deployment, task_id: str, reason: str = "") -> str:
    """`cancel` for asyncio."""
    retention = deployment.settings.project.retention
    with translated():
        verdict, *children = await scripts.run_async(client, "cancel", (), _arguments(retention, task_id, reason))
        family = await _family_async(client, task_id) if children else {}
        parents = [task_id]
        while parents:
            parent = parents.pop()
            for child in family.get(parent, ()):
                told = _arguments(retention, child, _inherited(parent))
                if len(await scripts.run_async(client, "cancel", (), told)) > 1:
                    parents.append(child)
    return str(verdict.decode())


def _family(client: redis.Redis, task_id: str) -> Family:
    root: Any = client.hget(keys.invocation(task_id), "root")
    ids: Any = client.zrange(keys.tree(root.decode() if root else ""), 0, -1)
    family: Family = {}
    for chunk in _chunks(ids):
        with client.pipeline(transaction=False) as pipe:
            for child in chunk:
                pipe.hget(keys.invocation(child.decode()), "parent")
            _add(family, chunk, pipe.execute())
    return family


async def _family_async(client: redis.asyncio.Redis, task_id: str) -> Family:
    root: Any = await client.hget(keys.invocation(task_id), "root")
    ids: Any = await client.zrange(keys.tree(root.decode() if root else ""), 0, -1)
    family: Family = {}
    for chunk in _chunks(ids):
        async with client.pipeline(transaction=False) as pipe:
            for child in chunk:
                pipe.hget(keys.invocation(child.decode()), "parent")
            _add(family, chunk, await pipe.execute())
    return family


def _add(family: Family, ids: Sequence[bytes], parents: Sequence[bytes | None]) -> None:
    for child, parent in zip(ids, parents, strict=True):
        if parent is not None:
            family.setdefault(parent.decode(), []).append(child.decode())


def _chunks(ids: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    return (ids[start : start + _CHUNK] for start in range(0, len(ids), _CHUNK))


def _inherited(parent: str) -> str:
    return f"its parent {parent} was cancelled"


def _arguments(retention: Retention, task_id: str, reason: str) -> list[scripts.Argument]:
    return [task_id, reason[:500], *limits(retention)]
