"""What the queues and the workers have to do at this moment, counted where it is kept: records, lists, heartbeats."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import redis

from runtime import keys
from runtime.broker import presence
from runtime.broker.connection import translated
from runtime.broker.presence import Process
from runtime.config.settings import Project
from runtime.invocations import index as invocation_index
from runtime.invocations import listing as invocation_list
from runtime.invocations import pause
from runtime.invocations.invocation import Invocation

DUE_SECONDS = 60.0
"""A worker that is started for a call that is due by then is there in time."""

WAKE_SECONDS = 120.0
"""So long may calls wait in a queue with `scale_to_zero` until somebody has started a worker for them."""

_NODE = re.compile(r"(?P<queue>.+?)(?:\.\d+)*@.*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class QueueLoad:
    """One queue. `queued` counts records by priority, `messages` what stands in its lists (also other programs').

    `parked` waits at a gate for a place; `oldest` is for how many seconds the oldest of `queued` has waited; `due` are
    retries and delays whose time comes within a minute.
    """

    name: str
    queued: Mapping[int, int]
    messages: int
    parked: int
    running: int
    oldest: float | None
    paused: bool
    workers: Sequence[str] = ()
    due: int = 0
    scale_to_zero: bool = False

    @property
    def waiting(self) -> int:
        """What a worker would find to do: calls, or the messages of other programs where those are more."""
        return 0 if self.paused else max(sum(self.queued.values()), self.messages)

    @property
    def wait(self) -> float:
        """Seconds that the oldest has waited for a worker, 0 where nothing does."""
        return 0.0 if self.paused else self.oldest or 0.0

    @property
    def busy(self) -> int:
        """While it is not 0 the queue has need of a worker."""
        return self.waiting + self.running + self.due

    @property
    def missed(self) -> bool:
        """Whether its worker is missing: there is none, and none can be on its way."""
        return not self.workers and not (self.scale_to_zero and self.wait < WAKE_SECONDS)


@dataclass(frozen=True, slots=True)
class WorkerLoad:
    """One worker process: what it said of itself, what it runs, and what it has received and not ended."""

    process: Process
    queue: str
    running: Sequence[str]
    held: int


@dataclass(frozen=True, slots=True)
class Workload:
    queues: Sequence[QueueLoad] = ()
    workers: Sequence[WorkerLoad] = ()
    active: Sequence[Invocation] = ()
    processes: Sequence[Process] = field(default=())


def read(client: redis.Redis, project: Project) -> Workload:
    """Everything at once, in a handful of round trips. Raises BrokerDown."""
    with translated():
        active = running(client)
        processes = presence.read(client)
        workers = _workers(client, [one for one in processes if one.kind == "worker"], active, project)
        return Workload(_queues(client, project, active, workers), workers, active, processes)


def running(client: redis.Redis) -> list[Invocation]:
    """What is being run, the longest first, without arguments. Raises BrokerDown."""
    ids: Any = client.zrange(keys.RUNNING, 0, invocation_index.MOST_EXAMINED - 1)
    found = invocation_list.brief(client, [task_id.decode() for task_id in ids])
    return sorted((one for one in found if one.state == "running"), key=lambda one: one.started or 0.0)


def _workers(
    client: redis.Redis, processes: Sequence[Process], active: Sequence[Invocation], project: Project
) -> list[WorkerLoad]:
    with client.pipeline(transaction=False) as pipe:
        for process in processes:
            pipe.scard(keys.held(process.name))
        held: list[int] = pipe.execute()
    return [
        WorkerLoad(
            process,
            process.queue or queue_of(process.name, project),
            [one.id for one in active if one.worker == process.name],
            count,
        )
        for process, count in zip(processes, held, strict=True)
    ]


def queue_of(worker: str, project: Project) -> str:
    """The queue in a worker's name, QUEUE@HOST or QUEUE.2@HOST (it replaces another); '' where there is none."""
    plain = worker.partition("@")[0]
    match = _NODE.fullmatch(worker)
    return next((name for name in (plain, match["queue"] if match else "") if name in project.queues), "")


def _queues(
    client: redis.Redis, project: Project, active: Sequence[Invocation], workers: Sequence[WorkerLoad]
) -> list[QueueLoad]:
    names = list(project.queues)
    with client.pipeline(transaction=False) as pipe:
        for name in names:
            for priority in reversed(keys.PRIORITY_STEPS):
                pipe.zcard(keys.queued(name, priority))
            for priority in keys.PRIORITY_STEPS:
                pipe.zrange(keys.queued(name, priority), 0, 0, withscores=True)
            for target in keys.queue_lists(name):
                pipe.llen(target)
        answers: list[Any] = pipe.execute()
    steps, resting = len(keys.PRIORITY_STEPS), pause.paused(client)
    parked, due = _parked(client), _due(client)
    busy = Counter(one.queue for one in active)
    found = []
    for at, name in enumerate(names):
        counts, oldest, lengths = (answers[(3 * at + part) * steps : (3 * at + part + 1) * steps] for part in range(3))
        queued = dict(zip(reversed(keys.PRIORITY_STEPS), counts, strict=True))
        first = min((score for heads in oldest for _, score in heads), default=None)
        found.append(
            QueueLoad(
                name,
                queued,
                sum(lengths),
                parked[name],
                busy[name],
                None if first is None else max(0.0, time.time() - first / 1000),
                ("queue", name) in resting,
                [worker.process.name for worker in workers if worker.queue == name and worker.process.ready],
                due[name],
                project.queues[name].scale_to_zero,
            )
        )
    return found


def _due(client: redis.Redis) -> Counter[str]:
    """How many calls are due within a minute, by their queue; of very many, the first."""
    until = int((time.time() + DUE_SECONDS) * 1000)
    ids: Any = client.zrangebyscore(keys.DUE, "-inf", until, start=0, num=invocation_index.MOST_EXAMINED)
    if not ids:
        return Counter()
    with client.pipeline(transaction=False) as pipe:
        for task_id in ids:
            pipe.hget(keys.invocation(task_id.decode()), "queue")
        return Counter(queue.decode() for queue in pipe.execute() if queue)


def _parked(client: redis.Redis) -> Counter[str]:
    """How many calls wait at gates, by their queue. Those at one gate are calls of one function."""
    gates: Any = client.smembers(keys.PARKED)
    names = [keys.parked(gate.decode()) for gate in gates]
    with client.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.zcard(name)
            pipe.zrange(name, 0, 0)
        answers: list[Any] = pipe.execute()
        for first in answers[1::2]:
            pipe.hget(keys.invocation(first[0].decode() if first else ""), "queue")
        queues: list[bytes | None] = pipe.execute()
    found = Counter[str]()
    for count, queue in zip(answers[::2], queues, strict=True):
        found[queue.decode() if queue else ""] += count
    return found
