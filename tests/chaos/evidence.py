"""What is there when the storm is over: every record, every list, every line of the journal."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

import redis
import urllib3

from runtime import keys
from runtime.broker.connection import connect
from runtime.invocations.invocation import Invocation, read_many
from runtime.invocations.pause import pause
from tests.chaos.clients import Answer, key_of
from tests.chaos.journal import Journal, Line
from tests.chaos.killer import Kill
from tests.system import System


@dataclass(slots=True)
class Evidence:
    """`left` counts what still waits in each list; `ticks` maps a tick to its invocation; `objects` keys to states."""

    answers: list[Answer]
    kills: list[Kill]
    lines: list[Line]
    records: dict[str, Invocation] = field(default_factory=dict)
    left: dict[str, int] = field(default_factory=dict)
    ticks: dict[str, str] = field(default_factory=dict)
    objects: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def function(self, task_id: str) -> str:
        record = self.records.get(task_id)
        return record.function if record else ""


def backlog(client: redis.Redis) -> int:
    """How many invocations wait or run; 0 while the broker cannot say."""
    try:
        return sum(waiting(client).values())
    except redis.RedisError:
        return 0


def waiting(client: redis.Redis) -> dict[str, int]:
    """How much is left in each place where an invocation can wait, at one moment."""
    names: Any = client.smembers(keys.QUEUED)
    places = [keys.RUNNING, keys.DUE, keys.CALLBACKS, keys.EXPIRING]
    places += sorted(name.decode() for name in names)
    gates: Any = client.smembers(keys.PARKED)
    places += sorted(keys.parked(gate.decode()) for gate in gates)
    with client.pipeline() as pipe:
        for place in places:
            pipe.zcard(place)
        pipe.scard(keys.CHAINS)
        counts = pipe.execute()
    return dict(zip([*places, keys.CHAINS], counts, strict=True))


def collect(system: System, answers: list[Answer], kills: list[Kill], *, within: float) -> Evidence:
    """Let the schedule rest, wait until nothing waits or runs any more (at most `within` seconds), and gather what
    there is then."""
    client = connect(system.connections["CELERY_BROKER_URL"])
    pause(client, "schedule", "tick", "the storm is over")
    give_up = time.monotonic() + within
    objects = _objects(system, answers, give_up)
    left = waiting(client)
    while any(left.values()) and time.monotonic() < give_up:
        time.sleep(0.05)
        left = waiting(client)
    found = Evidence(answers, kills, list(Journal(system.folder / "journal").new()), left=left, objects=objects)
    found.records, found.ticks = records(client), _ticks(client)
    return found


def records(client: redis.Redis) -> dict[str, Invocation]:
    """Every invocation that is recorded."""
    prefix = keys.invocation("")
    names = [name.decode().removeprefix(prefix) for name in client.scan_iter(f"{prefix}*", count=1000)]
    found: dict[str, Invocation] = {}
    for first in range(0, len(names), 500):
        some = read_many(client, names[first : first + 500])
        found |= {task_id: each for task_id, each in some.items() if each}
    return found


def _ticks(client: redis.Redis) -> dict[str, str]:
    names: list[bytes] = list(client.scan_iter(keys.tick("tick-*", "*Z"), count=1000))
    values: Any = client.mget(names) if names else []
    return {name.decode(): (value or b"").decode() for name, value in zip(names, values, strict=True)}


def _objects(system: System, answers: list[Answer], give_up: float) -> dict[str, str]:
    """What the gateway says of every object that it took; those that are under way are asked for again."""
    keys_ = [key_of(answer.wish) for answer in answers if answer.wish.how == "object" and 200 <= answer.status < 300]
    found: dict[str, str] = {}
    for key in keys_:
        while True:
            answer = urllib3.request("GET", f"{system.url}/documents/chaos/{key}", retries=3, timeout=30.0)
            found[key] = json.loads(answer.data).get("status", "") if answer.status == 200 else str(answer.status)
            if found[key] == "completed" or time.monotonic() > give_up:
                break
            time.sleep(0.2)
    return found
