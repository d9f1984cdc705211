"""The steps of a worker, taken by hand: for tests of what happens between them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import redis

from runtime import keys
from runtime.attempts.attempt import Attempt, claim, finish, suspend
from runtime.config.settings import Retention
from runtime.deployment.deployment import Deployment
from runtime.invocations.admission import admit_next
from runtime.invocations.fans import Fan
from runtime.invocations.submit import Call, submit
from tests.workers import SAMPLES

FILE = SAMPLES / "flow" / "functions.yaml"
KEPT = Retention()


def without(deployed: Deployment, *names: str) -> Deployment:
    left = {name: one for name, one in deployed.functions.items() if name not in names}
    return Deployment(deployed.settings, left)


def begun(client: redis.Redis, deployed: Deployment, task_id: str) -> Attempt:
    attempt = claim(client, task_id, "hand", deployed.find(function_of(client, task_id)).spec, KEPT)
    assert isinstance(attempt, Attempt), attempt
    return attempt


def function_of(client: redis.Redis, task_id: str) -> str:
    found: Any = client.hget(keys.invocation(task_id), "function")
    return str(found.decode())


def done(client: redis.Redis, deployed: Deployment, attempt: Attempt, state: str = "succeeded") -> None:
    spec = deployed.find(function_of(client, attempt.id)).spec
    assert finish(client, spec, attempt, state, {"result": b"1"}, KEPT)


def parted(client: redis.Redis, deployed: Deployment, children: int, **options: Any) -> tuple[Attempt, list[str]]:
    """A parent that waits for a map of `child`, one in flight."""
    task = submit(client, deployed, Call("parent", {"count": children, "path": ""}, **options))
    attempt = begun(client, deployed, task)
    tasks = sent(client, deployed, attempt, children)
    assert suspend(client, attempt, f"{task}:0", KEPT)
    return attempt, tasks


def sent(client: redis.Redis, deployed: Deployment, parent: Attempt, children: int) -> list[str]:
    fan = Fan(client, parent.id, 0)
    fan.open("digest", children)
    tasks = []
    for number in range(children):
        call = Call("child", {"number": number, "path": ""}, parent=parent.id, root=parent.id)
        tasks.append(submit(client, deployed, replace(call, fan=fan.name, fan_index=number, in_flight=1)))
        time.sleep(0.002)  # created in different milliseconds: they begin in this order
    fan.close()
    admit_next(client, deployed, f"fan:{fan.name}")
    return tasks


@contextlib.contextmanager
def watched(client: redis.Redis) -> Iterator[Callable[[], int]]:
    """How many commands the broker was sent, those of scripts left out."""

    def count() -> int:
        found: Any = client.info("commandstats")
        return sum(int(found.get(f"cmdstat_{name}", {}).get("calls", 0)) for name in ("hgetall", "evalsha", "zrange"))

    before = count()
    yield lambda: count() - before
