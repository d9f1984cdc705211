"""A sudden loss of most of a bucket waits here until a person confirms it.

The key `keys.hold(trigger, bucket)` holds JSON: {"bucket", "trigger", "count", "known", "at", "confirmed"}.
`triggers` writes it and takes it away; `confirm` only sets `confirmed`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import redis
import redis.asyncio

from runtime.broker.connection import translated
from runtime.buckets.watch import watches
from runtime.config.settings import Project


def read(client: redis.Redis, project: Project, bucket: str | None = None) -> list[dict[str, Any]]:
    """Every held loss (of one bucket, where given), as the dictionaries described above. Raises BrokerDown."""
    names = _names(project, bucket)
    with translated():
        return _decoded(client.mget(names)) if names else []


async def read_async(client: redis.asyncio.Redis, project: Project, bucket: str | None = None) -> list[dict[str, Any]]:
    """`read` for asyncio."""
    names = _names(project, bucket)
    with translated():
        return _decoded(await client.mget(names)) if names else []


def confirm(client: redis.Redis, project: Project, bucket: str) -> list[dict[str, Any]]:
    """Say that the loss in this bucket is meant; the next listing carries it out. Returns what was confirmed."""
    held = read(client, project, bucket)
    with translated():
        for hold in held:
            name = next(watch.hold for watch in watches(project) if watch.name == hold["trigger"])
            # XX: a hold that was lifted meanwhile (the objects are back) must not come to life again.
            client.set(name, json.dumps(hold | {"confirmed": True}), xx=True)
    return held


def _names(project: Project, bucket: str | None) -> list[str]:
    return [watch.hold for watch in watches(project) if bucket in (None, watch.trigger.bucket)]


def _decoded(values: Sequence[Any]) -> list[dict[str, Any]]:
    return [json.loads(value) for value in values if value]
