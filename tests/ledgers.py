"""Ledgers with whatever a test wants in them, of a project with three bucket triggers."""

from __future__ import annotations

from typing import Any

import redis

from runtime.buckets.entry import Entry
from runtime.buckets.watch import Watch, watches
from runtime.config.settings import BucketTrigger, Settings


def watched(made: Settings) -> Settings:
    """Two functions on the bucket `documents`, one of them also on `other`."""
    project = made.project
    more = project.functions["hidden"].model_copy(
        update={"buckets": (BucketTrigger(bucket="documents", prefix="in/"), BucketTrigger(bucket="other"))}
    )
    functions = {**project.functions, "hidden": more}
    return made.model_copy(update={"project": project.model_copy(update={"functions": functions})})


def known(made: Settings) -> list[Watch]:
    """The trigger of `embed`, then those of `hidden`."""
    *mine, embed = watches(made.project)
    return [embed, *mine]


def note(client: redis.Redis, watch: Watch, **entries: Entry) -> None:
    client.hset(watch.ledger, mapping={key.encode(): entry.encode() for key, entry in entries.items()})


def fill(client: redis.Redis, watch: Watch, count: int, **entry: Any) -> None:
    """So many alike."""
    made = {"state": "done", "etag": "d41d8cd98f00b204e9800998ecf8427e", "seq": 1, **entry}
    raw = Entry(**made).encode()
    for first in range(0, count, 10_000):
        names = range(first, min(first + 10_000, count))
        client.hset(watch.ledger, mapping={f"notes/{number:07d}.txt": raw for number in names})
