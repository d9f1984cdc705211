"""What the tests of the channel share: its sample project, traces of what ran, and looks into the broker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import redis

from runtime import keys
from runtime.deployment.deployment import Deployment
from runtime.invocations.submit import Call, submit
from tests.workers import SAMPLES

FILE = SAMPLES / "channel" / "functions.yaml"


def waiting(client: redis.Redis, queue: str) -> list[bytes]:
    """The messages of a queue in the order in which they will be taken."""
    raws: list[bytes] = []
    for name in keys.queue_lists(queue):
        found: Any = client.lrange(name, 0, -1)
        raws += reversed(found)
    return raws


def held(client: redis.Redis, worker: str) -> set[str]:
    """What a worker says that it has received."""
    found: Any = client.smembers(keys.held(worker))
    return {task_id.decode() for task_id in found}


def lines(path: Path, kind: str) -> list[str]:
    """The texts of the calls that have begun or ended, in order."""
    if not path.exists():
        return []
    found = [line.partition(" ") for line in path.read_text().splitlines()]
    return [text for word, _, text in found if word == kind]


def notes(
    client: redis.Redis, deployed: Deployment, path: Path, count: int, function: str = "note", **more: Any
) -> list[str]:
    """Submit `count` calls that write 0, 1, 2 …; their ids."""
    calls = [Call(function, {"path": str(path), "text": str(number), **more}) for number in range(count)]
    return [submit(client, deployed, call) for call in calls]
