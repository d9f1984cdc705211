"""`/metrics` in Prometheus' text format: what this gateway did, and what the broker says of the system."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway import schedules
from runtime import census, keys, pause, presence
from runtime.errors import BrokerDown

if TYPE_CHECKING:
    from gateway.state import Gateway

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE"})


class Requests:
    """The measurements of one gateway, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._seconds = Histogram(
            "tundish_gateway_request_seconds",
            "Time to answer, by route, method and status.",
            ("route", "method", "status"),
            registry=self.registry,
            buckets=_BUCKETS,
        )

    def observe(self, route: str, method: str, status: int, seconds: float) -> None:
        """Labels are bounded: routes are templates, unknown methods count as one."""
        method = method if method in _METHODS else "other"
        self._seconds.labels(route, method, str(status)).observe(seconds)


class Measured:
    """Middleware that measures every request."""

    def __init__(self, app: ASGIApp, requests: Requests) -> None:
        self._app, self._requests = app, requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        began, status = time.perf_counter(), 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            self._requests.observe(route, scope["method"], status, time.perf_counter() - began)


@dataclass(frozen=True, eq=False)  # a registry keeps collectors by identity
class Snapshot:
    """What the system says at one moment; collected per scrape, so that nothing that ended stays behind."""

    up: bool
    depths: Mapping[str, int] = field(default_factory=dict)
    totals: Mapping[tuple[str, str], int] = field(default_factory=dict)
    processes: Mapping[str, int] = field(default_factory=dict)
    census: census.Census = field(default_factory=census.Census)
    paused: pause.Paused = field(default_factory=dict)
    indexes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    ticked: Sequence[schedules.Ticked] = ()

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("tundish_broker_up", "Whether the broker answered this scrape.", value=int(self.up))
        texts = {
            "celery_queue_depth": ("Messages that wait, over all priorities.", "queue_name", self.depths),
            "tundish_processes": ("Live processes that are ready.", "kind", self.processes),
            "tundish_invocations": ("Invocations that are recorded, by state.", "state", self.census.states),
            "tundish_parked": ("Invocations that wait at a gate, without a worker.", "gate", self.census.parked),
        }
        for name, (text, label, values) in texts.items():
            yield _gauge(name, text, label, values)
        resting = GaugeMetricFamily("tundish_paused", "What rests: 1 each.", labels=("kind", "name"))
        for kind, name in self.paused:
            resting.add_metric((kind, name), 1)
        yield resting
        generations = {name: generation for name, (generation, _) in self.indexes.items()}
        vectors = {name: count for name, (_, count) in self.indexes.items()}
        yield _gauge("celery_faiss_index_version", "Generation that this gateway answers from.", "index", generations)
        yield _gauge("tundish_index_vectors", "Vectors in that generation.", "index", vectors)
        totals = CounterMetricFamily("celery_tasks", "Invocations that ended.", labels=("task_name", "status"))
        for (function, state), count in self.totals.items():
            totals.add_metric((function, state), count)
        yield totals
        yield from schedules.collect(self.ticked)


async def metrics(request: Request) -> Response:
    """A broker that is away leaves its part out and shows in `tundish_broker_up`."""
    gateway: Gateway = request.app.state.gateway
    registry = CollectorRegistry()
    registry.register(await snapshot(gateway))
    registry.register(gateway.courier)
    text = generate_latest(gateway.requests.registry) + generate_latest(registry)
    return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST, "Cache-Control": "no-store"})


async def snapshot(gateway: Gateway) -> Snapshot:
    import redis

    indexes = {name: (found.generation, found.vectors) for name, found in gateway.indexes.versions().items()}
    queues = list(gateway.project.queues)
    try:
        async with gateway.redis.pipeline(transaction=False) as pipe:
            for queue in queues:
                for name in keys.queue_lists(queue):
                    pipe.llen(name)
            pipe.hgetall(keys.TOTALS)
            *depths, totals = await pipe.execute()
        counted, resting = await census.take_async(gateway.redis), await pause.paused_async(gateway.redis)
        processes = await live(gateway)
        ticked = await schedules.ticked(gateway)
    except (redis.RedisError, BrokerDown, OSError):
        return Snapshot(up=False, indexes=indexes)
    steps = len(keys.PRIORITY_STEPS)
    kinds: dict[str, int] = {}
    for process in processes:
        kinds[process.kind] = kinds.get(process.kind, 0) + process.ready
    return Snapshot(
        up=True,
        depths={queue: sum(depths[at * steps : (at + 1) * steps]) for at, queue in enumerate(queues)},
        totals=_totals(totals),
        processes=kinds,
        census=counted,
        paused=resting,
        indexes=indexes,
        ticked=ticked,
    )


async def live(gateway: Gateway) -> list[presence.Process]:
    """Every process that renews its key, of every host."""
    return await presence.read_async(gateway.redis)


def _totals(fields: Mapping[bytes, bytes]) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    for name, count in fields.items():
        function, _, state = name.decode().rpartition(":")
        found[function, state] = int(count)
    return found


def _gauge(name: str, text: str, label: str, values: Mapping[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=(label,))
    for found, value in values.items():
        family.add_metric((found,), value)
    return family
