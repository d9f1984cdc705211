"""`/metrics` in Prometheus' text format: what this gateway did, and what the broker says of the system."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import Response

from gateway.operations import metrics_system, metrics_usage
from gateway.operations.metrics_index import Told

if TYPE_CHECKING:
    from gateway.state import Gateway


async def metrics(request: Request) -> Response:
    """A broker that is away leaves its part out and shows in `tundish_broker_up`."""
    gateway: Gateway = request.app.state.gateway
    registry = CollectorRegistry()
    system, quotas = await metrics_system.take(gateway), await metrics_usage.take(gateway)
    for collector in (gateway.requests, gateway.auth.refusals, system, Told(gateway), gateway.courier, quotas):
        registry.register(collector)
    ProcessCollector(registry=registry)
    return Response(
        generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST, "Cache-Control": "no-store"}
    )
