"""The curve over what waits in a queue: what it costs to accept a call, to run one, to look after all, and memory."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, cast

import redis

from bench.channel import wait
from bench.curves_house import House, house, seconds
from bench.curves_load import Point
from bench.keyspace import used_memory
from runtime import keys
from runtime.broker import scripts
from runtime.deployment.deployment import Deployment
from runtime.invocations import census, queue_purge, workload
from runtime.invocations.submit import Call, accept, new_id, now_ms, prepare
from runtime.worker.reaper import GRACE_MS, Upkeep

AXIS = "queued"
_CODE = "def noop() -> None:\n    return None\n"
_YAML = "version: 1\nqueues: {q: {concurrency: 2}}\nfunctions: {noop: {handler: code.py:noop, queue: q}}\n"
_TOGETHER = 500
"""Calls that are sent at once to fill the queue."""
_RUN = 500
"""Calls that a worker runs at one size, after a few that are not counted."""
_WARM = 50


def curve(sizes: Sequence[int], count: int) -> Iterator[Point]:
    with house() as here:
        deployed = here.deploy(_YAML, {"code.py": _CODE})
        accept(here.client, deployed, Call("noop"))
        for size in sizes:
            yield _point(here, deployed, size, count)


def _point(here: House, deployed: Deployment, size: int, count: int) -> Point:
    """The calls that are accepted, run and purged here come on top, or are put back by the next size's filling."""
    client, point = here.client, Point(AXIS, size)
    before, memory = _length(client), used_memory(client)
    began = time.perf_counter()
    added = fill(client, deployed, size - before)
    taken = time.perf_counter() - began
    if added >= _TOGETHER:
        point.numbers["fill_rate"] = (added / taken, "calls/s")
        point.numbers["memory_each"] = ((used_memory(client) - memory) / added, "bytes")
    point.numbers["memory"] = (used_memory(client), "bytes")
    spent = _spent(client)
    point.times["submit"] = [seconds(lambda: accept(client, deployed, Call("noop"))) for _ in range(count)]
    point.numbers["submit_broker_cpu"] = ((_spent(client) - spent) / count, "s")
    time.sleep(GRACE_MS / 1000)  # what is younger is not looked after
    upkeep = Upkeep(client, deployed)
    point.times["upkeep"] = [seconds(lambda: _look(upkeep)) for _ in range(5)]
    point.times["census"] = [seconds(lambda: census.take(client)) for _ in range(20)]
    project = deployed.settings.project
    point.times["stats"] = [seconds(lambda: workload.read(client, project)) for _ in range(20)]
    if _length(client) >= _RUN + _WARM:
        _run(here, point)
    if (left := _length(client)) >= size // 2:
        spent = _spent(client)
        point.times["purge_of_100"] = [seconds(lambda: queue_purge.purge(client, deployed, "q", min(100, left)))]
        point.numbers["purge_broker_cpu"] = (_spent(client) - spent, "s")
    return point


def _look(upkeep: Upkeep) -> None:
    """All that the upkeep does every two seconds."""
    upkeep._reaped_at = 0.0
    upkeep.step()


def _run(here: House, point: Point) -> None:
    """A worker that starts before the full queue: calls a second, and the processor time of each."""
    worker = here.worker("q")
    first = _ended(here.client)
    wait(lambda: _ended(here.client) >= first + _WARM)
    begun, began, spent, broker = _ended(here.client), time.perf_counter(), here.spent(), _spent(here.client)
    wait(lambda: _ended(here.client) >= begun + _RUN or not _length(here.client))
    done = _ended(here.client) - begun
    point.numbers["run_rate"] = (done / (time.perf_counter() - began), "calls/s")
    point.numbers["run_cpu"] = ((here.spent() - spent) / max(1, done), "s")
    point.numbers["run_broker_cpu"] = ((_spent(here.client) - broker) / max(1, done), "s")
    here.stop(worker)


def fill(client: redis.Redis, deployed: Deployment, count: int) -> int:
    """Submit so many calls of `noop`, many in one message to the broker; how many were accepted.

    Each is what `accept` sends. Only its id differs from the one before, so its words are made once for all of them.
    """
    connection: Any = cast("Any", client.connection_pool).get_connection()
    sent = 0
    try:
        while sent < count:
            some = min(_TOGETHER, count - sent)
            prepared = prepare(deployed, Call("noop"), now_ms())
            words = connection.pack_command("EVALSHA", scripts.sha(scripts.source("submit")), 0, *prepared.arguments)
            text, before = b"".join(words), prepared.id.encode()
            connection.send_packed_command([text.replace(before, new_id().encode()) for _ in range(some)])
            answers = [connection.read_response() for _ in range(some)]
            assert all(answer[0] == b"new" for answer in answers), answers[:3]
            sent += some
    finally:
        client.connection_pool.release(connection)
    return sent


def _length(client: redis.Redis) -> int:
    """How many records wait, of whatever priority."""
    names: Any = client.smembers(keys.QUEUED)
    return sum(int(client.zcard(name)) for name in names)


def _ended(client: redis.Redis) -> int:
    return int(client.hget(keys.TOTALS, "noop:succeeded") or 0)


def _spent(client: redis.Redis) -> float:
    """Seconds of processor time that the broker has taken."""
    told: Any = client.info("cpu")
    return float(told["used_cpu_user"] + told["used_cpu_sys"])
