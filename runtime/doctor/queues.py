"""Whether every queue is really consumed: a worker is judged by what it takes, not by its heartbeat."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any

import redis

from runtime import keys
from runtime.config.settings import Project
from runtime.doctor.finding import Verdict, Verdicts, fail, ok, warn
from runtime.doctor.patient import Patient
from runtime.invocations import message, workload
from runtime.invocations.invocation import read_many
from runtime.invocations.workload import QueueLoad

TAKEN_SECONDS = 5.0
"""A worker with a free place takes a message within milliseconds."""

_LATE_SECONDS = 60.0
_POLL_SECONDS = 0.02
_PROBE = "doctor-"
_MOST = 1_000
"""Calls of one list that are looked at."""


def consumed(patient: Patient) -> Verdicts:
    """Each queue has a worker that takes a probe (a message without a call, which is dropped), and nothing is stuck."""
    if not patient.processes:
        return
    client, project = patient.broker, patient.settings.project
    yield from _homeless(client, project)
    queues = workload.read(client, project).queues
    manned = [queue for queue in queues if queue.workers]
    for queue in queues:
        if queue.missed:
            waits = sum(queue.queued.values()) + queue.parked
            yield fail(
                f"No worker serves the queue {queue.name}; {waits} calls wait in it.",
                f"Start one: `tundish worker -Q {queue.name}`. `tundish up` keeps one of each queue running.",
            )
    untaken = _probe(client, project, [queue.name for queue in manned])
    after = {queue.name: queue for queue in workload.read(client, project).queues}
    for queue in manned:
        yield _judge(after[queue.name], taken=queue.name not in untaken)


def _judge(queue: QueueLoad, *, taken: bool) -> Verdict:
    waiting, workers = sum(queue.queued.values()), ", ".join(queue.workers)
    if not taken and not queue.running:
        return fail(
            f"The queue {queue.name} is not consumed: {workers or 'its worker'} says that it is alive, runs nothing, "
            f"and has not taken a message for {TAKEN_SECONDS:g} s; {waiting} calls wait.",
            "Restart that worker: end its process (`tundish up` starts it again), and keep its log.",
        )
    if waiting and (queue.oldest or 0) > _LATE_SECONDS:
        return warn(
            f"{waiting} calls wait in the queue {queue.name}, the oldest for {queue.oldest:.0f} s; {queue.running} run",
            f"Give {queue.name} a higher `concurrency` in functions.yaml, or another host: `tundish worker -Q "
            f"{queue.name}`. What runs: `tundish tasks --state running`.",
        )
    return ok(f"{queue.name}: {workers} takes messages" if taken else f"{queue.name}: {workers} is busy")


def _homeless(client: redis.Redis, project: Project) -> Iterator[Verdict]:
    """Calls in queues that functions.yaml does not have any more, and whether it has their functions."""
    names: Any = client.smembers(keys.QUEUED)
    counts: Counter[tuple[str, str]] = Counter()
    for name in (one.decode() for one in names):
        queue = name.removeprefix(f"{keys.QUEUED}:").rpartition(":")[0]
        if queue not in project.queues:
            ids: Any = client.zrange(name, 0, _MOST - 1)
            records = read_many(client, [one.decode() for one in ids]).values()
            counts.update((queue, found.function) for found in records if found)
    for (queue, function), count in sorted(counts.items()):
        if function in project.functions:
            yield warn(
                f"{count} calls of {function} wait in the queue {queue}, which functions.yaml does not have any more.",
                f"`beat` puts them into the queue {project.functions[function].queue} within seconds: look whether it "
                "runs.",
            )
        else:
            yield fail(
                f"{count} calls wait in the queue {queue} for {function}, and functions.yaml has neither of them.",
                f"Put {function} back under `functions:`. `beat` ends what was accepted more than ten minutes ago.",
            )


def _probe(client: redis.Redis, project: Project, queues: list[str]) -> set[str]:
    """The queues whose probe nobody took. A worker that takes one finds no record of it, and drops it."""
    sent: dict[str, bytes] = {}
    for queue in queues:
        # Any name will do where the queue has no function: every worker knows them all.
        names = [one.name for one in project.functions.values() if one.queue == queue] or list(project.functions)
        if names:
            task = f"{_PROBE}{uuid.uuid4()}"
            now = time.time_ns() // 1_000_000
            probe = message.build(task, names[0], {}, queue=queue, priority=9, queued_ms=now, root=task)
            client.lpush(keys.queue_list(queue, keys.transport_priority(9)), probe)
            sent[queue] = probe
    until = time.monotonic() + TAKEN_SECONDS
    left = set(sent)
    try:
        while left and time.monotonic() < until:
            left = {queue for queue in left if _there(client, queue, sent[queue])}
            time.sleep(_POLL_SECONDS)
    finally:
        for queue in left:
            client.lrem(keys.queue_list(queue, keys.transport_priority(9)), 0, sent[queue].decode())
    return left


def _there(client: redis.Redis, queue: str, probe: bytes) -> bool:
    return client.lpos(keys.queue_list(queue, keys.transport_priority(9)), probe.decode()) is not None
