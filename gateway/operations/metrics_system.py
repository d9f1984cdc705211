"""What the broker says of the whole system, for `/metrics`: the same at every gateway."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import redis
from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from gateway.operations import schedules
from runtime import keys
from runtime.errors import BrokerDown
from runtime.host.process_tree import Usage
from runtime.invocations import census, pause, workload
from runtime.invocations.workload import Workload
from runtime.metrics import exposition, measures
from runtime.metrics.exposition import counter, gauge, histogram
from runtime.metrics.measures import Counts
from runtime.worker import meters

if TYPE_CHECKING:
    from gateway.state import Gateway

KINDS = ("beat", "embedder", "gateway", "triggers", "worker")


@dataclass(frozen=True, slots=True)
class Broker:
    """Its memory and what it may have, in bytes; notifications of stores: ever, waiting, age of the oldest."""

    used: int = 0
    limit: int = 0
    notified: int = 0
    waiting: int = 0
    oldest: float = 0.0


@dataclass(frozen=True, eq=False)  # a registry keeps collectors by identity
class System:
    """What the system says at one moment; collected per scrape, so that nothing that ended stays behind."""

    up: bool
    functions: Sequence[str] = ()
    indexes: Sequence[str] = ()
    counts: Counts = field(default_factory=Counts)
    load: Workload = field(default_factory=Workload)
    usages: Mapping[str, Usage] = field(default_factory=dict)
    census: census.Census = field(default_factory=census.Census)
    paused: pause.Paused = field(default_factory=dict)
    ticked: Sequence[schedules.Ticked] = ()
    broker: Broker = Broker()

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("tundish_broker_up", "Whether the broker answered this scrape.", value=int(self.up))
        if not self.up:
            return
        counts = self.counts
        yield from exposition.tasks(counts, self.functions)
        text = "From acceptance to the end; calls that were redriven are left out."
        yield histogram("tundish_task_latency_seconds", text, "task_name", counts.latencies)
        yield histogram("tundish_task_retries", "How often calls that ended were retried.", "task_name", counts.repeats)
        text = "When a function last succeeded, in seconds since the epoch."
        yield gauge("tundish_task_last_success_timestamp_seconds", text, "task_name", counts.succeeded)
        yield from self._others()
        yield from self._queues()
        yield from self._workers()
        yield gauge("tundish_invocations", "Invocations that are recorded, by state.", "state", self.census.states)
        text = "Invocations that wait at a gate, without a worker."
        yield gauge("tundish_parked", text, "gate", self.census.parked)
        yield gauge("tundish_paused", "What rests: 1 each.", ("kind", "name"), dict.fromkeys(self.paused, 1))
        yield from schedules.collect(self.ticked)
        yield from schedules.overdue(self.ticked, counts.succeeded, self.paused)
        yield from self._bucket_events()
        broker = self.broker
        yield GaugeMetricFamily("tundish_broker_memory_bytes", "Memory that the broker uses.", value=broker.used)
        text = "What it may use: its maxmemory, else the memory of its machine."
        yield GaugeMetricFamily("tundish_broker_memory_limit_bytes", text, value=broker.limit)

    def _others(self) -> Iterator[Metric]:
        batches = dict.fromkeys(self.indexes, 0)  # a first one can be seen to be one more
        found: dict[str, dict[str, int]] = {measures.BATCHES: batches, measures.CHANGES: {}, measures.COUNTED: {}}
        for (what, of), count in self.counts.others.items():
            found.setdefault(what, {})[of] = count
        text = "Batches of vectors that were written."
        yield counter("celery_embedding_batches", text, "index", found[measures.BATCHES])
        text = "Changes of objects that a trigger has handed out."
        yield counter("tundish_bucket_changes", text, "trigger", found[measures.CHANGES])
        counted = {(of.partition("\n")[0], of.partition("\n")[2]): n for of, n in found[measures.COUNTED].items()}
        text = "What functions count (context.count)."
        yield counter("tundish_function_counts", text, ("task_name", "name"), counted)

    def _queues(self) -> Iterator[Metric]:
        queues = self.load.queues
        depths = {one.name: one.messages for one in queues}
        yield gauge("celery_queue_depth", "Messages that wait, over all priorities.", "queue_name", depths)
        yield gauge("celery_queue_size", "The same.", "queue_name", depths)
        oldest = {one.name: one.wait for one in queues}
        yield gauge("tundish_queue_oldest_seconds", "How long the oldest has waited.", "queue_name", oldest)
        workers = {one.name: len(one.workers) for one in queues}
        yield gauge("tundish_queue_workers", "Workers that are ready.", "queue_name", workers)
        text = "Whether a queue has no worker and should have one."
        yield gauge("tundish_queue_unserved", text, "queue_name", {one.name: int(one.missed) for one in queues})

    def _workers(self) -> Iterator[Metric]:
        workers = {one.process.name: one for one in self.load.workers}
        yield exposition.active({name: len(one.running) for name, one in workers.items()})
        yield from exposition.usage({(name, workers[name].queue): used for name, used in self.usages.items()})
        ready = dict.fromkeys(KINDS, 0)
        for process in self.load.processes:
            ready[process.kind] = ready.get(process.kind, 0) + process.ready
        yield gauge("tundish_processes", "Live processes that are ready.", "kind", ready)

    def _bucket_events(self) -> Iterator[Metric]:
        broker, labels = self.broker, ("trigger", "bucket")
        yield counter("tundish_bucket_events", "Notifications of stores that came in.", (), {(): broker.notified})
        text = "Notifications that are not settled yet."
        yield GaugeMetricFamily("tundish_bucket_events_waiting", text, value=broker.waiting)
        text = "Age of the oldest of them."
        yield GaugeMetricFamily("tundish_bucket_events_oldest_seconds", text, value=broker.oldest)
        text = "From the change of an object to the acceptance of its call."
        yield histogram("tundish_bucket_lag_seconds", text, labels, self.counts.lags)


async def take(gateway: Gateway) -> System:
    """Ask for everything, in some ten round trips."""
    try:
        load = await gateway.in_thread(workload.read, gateway.sync_redis, gateway.project)
        names = [one.process.name for one in load.workers]
        broker, usages = await _broker(gateway.redis, names)
        return System(
            up=True,
            functions=list(gateway.project.functions),
            indexes=gateway.indexes.names,
            counts=await measures.read_async(gateway.redis),
            load=load,
            usages=usages,
            census=await census.take_async(gateway.redis),
            paused=await pause.paused_async(gateway.redis),
            ticked=await schedules.ticked(gateway),
            broker=broker,
        )
    except (redis.RedisError, BrokerDown, OSError):
        return System(up=False)


async def _broker(client: redis.asyncio.Redis, workers: Sequence[str]) -> tuple[Broker, dict[str, Usage]]:
    async with client.pipeline(transaction=False) as pipe:
        pipe.xlen(keys.EVENTS)
        pipe.xrange(keys.EVENTS, count=1)
        for worker in workers:
            pipe.hgetall(keys.metrics_worker(worker))
        pipe.xinfo_stream(keys.EVENTS)  # refused where nothing was ever notified
        pipe.info("memory")  # refused by some who sell a broker
        answers: list[Any] = await pipe.execute(raise_on_error=False)
    *known, stream, memory = answers
    for answer in known:
        if isinstance(answer, Exception):
            raise answer
    waiting, first, *found = known
    memory = {} if isinstance(memory, Exception) else memory
    since = int(first[0][0].partition(b"-")[0]) / 1000 if first else time.time()
    broker = Broker(
        used=int(memory.get("used_memory") or 0),
        limit=int(memory.get("maxmemory") or memory.get("total_system_memory") or 0),
        notified=0 if isinstance(stream, Exception) else int(stream.get("entries-added", 0)),
        waiting=int(waiting),
        oldest=max(0.0, time.time() - since),
    )
    return broker, meters.usages(workers, found)
