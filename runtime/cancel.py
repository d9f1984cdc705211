"""Cancelling an invocation, and what its children do for it."""

from __future__ import annotations

from typing import Any

import redis
import redis.asyncio

from runtime import keys, scripts
from runtime.broker import translated
from runtime.config import Retention
from runtime.deployment import Deployment
from runtime.invocations import limits


def cancel(client: redis.Redis, deployment: Deployment, task_id: str, reason: str = "") -> str:
    """Cancel an invocation that has not ended. Raises BrokerDown.

    Answers 'cancelled' (it waited, and is over), 'stopping' (it runs; its worker is told, and writes the end),
    'missing', or the terminal state it has already. The children of a waiting parent are cancelled with it.
    """
    arguments = _arguments(deployment.settings.project.retention, task_id, reason)
    with translated():
        verdict, *before = (part.decode() for part in scripts.run(client, "cancel", (), arguments))
        if before == ["waiting"]:
            root: Any = client.hget(keys.invocation(task_id), "root")
            children: Any = client.zrange(keys.tree(root.decode()), 0, -1)
            for child in children:
                if client.hget(keys.invocation(child.decode()), "parent") == task_id.encode():
                    cancel(client, deployment, child.decode(), f"its parent {task_id} was cancelled")
    return str(verdict)


async def cancel_async(client: redis.asyncio.Redis, deployment: Deployment, task_id: str, reason: str = "") -> str:
    """`cancel` for asyncio."""
    arguments = _arguments(deployment.settings.project.retention, task_id, reason)
    with translated():
        answer = await scripts.run_async(client, "cancel", (), arguments)
        verdict, *before = (part.decode() for part in answer)
        if before == ["waiting"]:
            root: Any = await client.hget(keys.invocation(task_id), "root")
            children: Any = await client.zrange(keys.tree(root.decode()), 0, -1)
            for child in children:
                if await client.hget(keys.invocation(child.decode()), "parent") == task_id.encode():
                    await cancel_async(client, deployment, child.decode(), f"its parent {task_id} was cancelled")
    return str(verdict)


def _arguments(retention: Retention, task_id: str, reason: str) -> list[scripts.Argument]:
    return [task_id, reason[:500], *limits(retention)]
