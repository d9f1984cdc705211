"""Monitoring of the task API: queues, workers, what runs now, totals, and whether all is well."""

from __future__ import annotations

import time
from typing import Any

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from gateway import state
from gateway.access import tenancy
from gateway.tasks.pause import listed
from gateway.tasks.view import short
from gateway.web.fields import Given, parse
from gateway.web.problems import refuse
from runtime.invocations import census, pause, recent, workload
from runtime.invocations.invocation import TERMINAL
from runtime.invocations.workload import QueueLoad, WorkerLoad, Workload
from runtime.values.nearest import nearest


class Queues(Given):
    """Which queues are meant."""

    queue: str | None = None


async def queues(request: Request) -> Response:
    """Every queue, or the one that is named: what waits by priority, at gates and for how long; what runs; who works.

    For one queue alone, so that an autoscaler finds its numbers at the same place whatever else there is.
    """
    name, known = parse(Queues, request.query_params).queue, state.of(request).project.queues
    if name is not None and name not in known:
        refuse(404, f"There is no queue {name}{nearest(name, known)}")
    load = await _load(request)
    return _answer({"queues": [_queue(queue) for queue in load.queues if name in (None, queue.name)]})


async def workers(request: Request) -> Response:
    """Every worker process that is alive, with what it runs and holds."""
    load, whole = await _load(request), tenancy.only(request) is None
    return _answer({"workers": [_worker(worker, whole) for worker in load.workers]})


async def active(request: Request) -> Response:
    """What runs now, the longest first."""
    gateway, now = state.of(request), time.time()
    found = await gateway.in_thread(workload.running, gateway.sync_redis)
    tasks = [
        short(record) | {"seconds": max(0.0, now - (record.started or now))}
        for record in found
        if tenancy.sees(request, record.tenant)
    ]
    return _answer({"tasks": tasks})


async def health(request: Request) -> Response:
    """200 while every queue has a worker and the upkeep runs, else 503; what rests or piles up is told either way."""
    gateway = state.of(request)
    began = time.perf_counter()
    await gateway.redis.ping()
    broker_ms = (time.perf_counter() - began) * 1000
    load = await _load(request)
    problems = [f"no worker serves the queue {queue.name}" for queue in load.queues if queue.missed]
    if not any(process.kind == "beat" and process.ready for process in load.processes):
        problems.append("no beat runs: retries, delays, schedules and what was lost wait for one")
    told = {
        "status": "unhealthy" if problems else "healthy",
        "problems": problems,
        "broker_ms": round(broker_ms, 3),
        "workers": len([worker for worker in load.workers if worker.process.ready]),
        "queued": sum(sum(queue.queued.values()) for queue in load.queues),
        "oldest_seconds": max((queue.oldest for queue in load.queues if queue.oldest is not None), default=None),
        "paused": listed(await pause.paused_async(gateway.redis)),
    }
    return _answer(told, 503 if problems else 200, {"Retry-After": "2"} if problems else {})


async def summary(request: Request) -> Response:
    """All that ended since the broker began, by function and state; what there is now; how the newest went."""
    gateway = state.of(request)

    def read() -> dict[str, Any]:
        client = gateway.sync_redis
        counted, newest = census.take(client), recent.newest(client, gateway.project.retention)
        return {
            "totals": recent.totals(client),
            "waiting": {name: count for name, count in counted.states.items() if name not in TERMINAL},
            "kept": {name: count for name, count in counted.states.items() if name in TERMINAL},
            "parked": counted.parked,
            "newest": newest,
        }

    return _answer(await gateway.in_thread(read))


async def _load(request: Request) -> Workload:
    gateway = state.of(request)
    return await gateway.in_thread(workload.read, gateway.sync_redis, gateway.project)


def _queue(queue: QueueLoad) -> dict[str, Any]:
    return {
        "queue": queue.name,
        "queued": sum(queue.queued.values()),
        "by_priority": {str(priority): count for priority, count in queue.queued.items() if count},
        "messages": queue.messages,
        "parked": queue.parked,
        "running": queue.running,
        "paused": queue.paused,
        "oldest_seconds": queue.oldest,
        "due": queue.due,
        "waiting": queue.waiting,
        "wait_seconds": round(queue.wait, 3),
        "busy": queue.busy,
        "scale_to_zero": queue.scale_to_zero,
        "workers": list(queue.workers),
    }


def _worker(worker: WorkerLoad, whole: bool) -> dict[str, Any]:
    """`whole`: with the ids of what it runs, whoever's that is."""
    process = worker.process
    return {
        "worker": process.name,
        "host": process.host,
        "pid": process.pid,
        "queue": worker.queue,
        "pool": process.pool,
        "concurrency": process.concurrency,
        "running": len(worker.running),
        "tasks": list(worker.running) if whole else [],
        "held": worker.held,
        "ready": process.ready,
        "detail": process.detail,
        "version": process.version,
        "since": process.started,
    }


def _answer(told: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> Response:
    headers = {"Cache-Control": "no-store", **(headers or {})}
    return Response(to_json(told), status, headers=headers, media_type="application/json")
