"""How far the answer of an invocation has come on its way to the URL that its caller named."""

from __future__ import annotations

from typing import Any

import redis.asyncio

from runtime import keys
from runtime.broker.connection import translated


async def read_async(client: redis.asyncio.Redis, task_id: str) -> dict[str, Any]:
    """`state` (pending, delivered, refused, given up), `attempts`, the last `error`, `next` (when, in seconds since
    the epoch) and what it `waits` for. Raises BrokerDown."""
    names = ("callback_state", "callback_attempts", "callback_error", "callback_waits")
    with translated():
        async with client.pipeline(transaction=False) as pipe:
            pipe.hmget(keys.invocation(task_id), *names)
            pipe.zscore(keys.CALLBACKS, task_id)
            found, due = await pipe.execute()
    state, attempts, error, waits = (value.decode() if value else None for value in found)
    return {
        "state": state or "pending",
        "attempts": int(attempts or 0),
        "error": error,
        "next": None if due is None else due / 1000,
        "waits": waits,
    }
