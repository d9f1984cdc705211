"""`GET /admin/schedules`: every schedule, its last run and its next ones; and what `/metrics` says of their ticks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import accumulate, islice
from typing import TYPE_CHECKING, Annotated

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from pydantic import Field
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from gateway.access import tenancy
from gateway.web.fields import Given, parse
from runtime.invocations import pause
from runtime.schedules import state as schedule_state
from runtime.schedules.schedule import Schedule, find, next_due, schedules, ticks
from runtime.schedules.state import LATE_BOUNDS, ScheduleState
from runtime.schedules.view import told
from runtime.security.principal import DEFAULT_TENANT

if TYPE_CHECKING:
    from gateway.state import Gateway

Ticked = tuple[Schedule, ScheduleState]


class Query(Given):
    """Which schedules (`name`: that of a schedule or a function), and how many runs to come are shown of each."""

    name: str = ""
    next: Annotated[int, Field(ge=1, le=100)] = 1


async def listing(request: Request) -> Response:
    """All schedules, or those that are asked for; a name that means none gets 404 with the nearest."""
    gateway: Gateway = request.app.state.gateway
    asked = parse(Query, request.query_params)
    named = find(gateway.project, asked.name) if asked.name else schedules(gateway.project)
    named = [one for one in named if tenancy.sees(request, one.trigger.tenant or DEFAULT_TENANT)]
    states = await schedule_state.read_async(gateway.redis, named)
    paused, now = await pause.paused_async(gateway.redis), datetime.now(UTC)
    shown = [told(one, states[one.name], paused, now, asked.next) for one in named]
    return Response(to_json({"schedules": shown}), media_type="application/json")


async def ticked(gateway: Gateway) -> list[Ticked]:
    """What `collect` needs. Raises BrokerDown."""
    known = schedules(gateway.project)
    states = await schedule_state.read_async(gateway.redis, known)
    return [(one, states[one.name]) for one in known]


def overdue(
    found: Sequence[Ticked], succeeded: Mapping[str, float], paused: pause.Paused
) -> Iterator[GaugeMetricFamily]:
    """For how long a schedule's function should have succeeded, and its interval. What rests is not late."""
    now, labels = datetime.now(UTC), ("schedule", "function")
    late = GaugeMetricFamily(
        "tundish_schedule_overdue_seconds",
        "How long ago the first tick was that its function has not succeeded after; 0: it has, after every one.",
        labels=labels,
    )
    interval = GaugeMetricFamily(
        "tundish_schedule_interval_seconds", "Seconds between the two ticks that come next.", labels=labels
    )
    for schedule, state in found:
        named = (schedule.name, schedule.function)
        since = succeeded.get(schedule.function, state.tick)
        rests = any(("schedule", name) in paused for name in schedule.names)
        missed = None if since is None or rests else next_due(schedule, datetime.fromtimestamp(since, UTC))
        late.add_metric(named, max(0.0, (now - missed).total_seconds()) if missed else 0.0)
        coming = list(islice(ticks(schedule.trigger, now), 2))
        if len(coming) == 2:
            interval.add_metric(named, (coming[1] - coming[0]).total_seconds())
    yield late
    yield interval


def collect(found: Sequence[Ticked]) -> Iterator[Metric]:
    """Ticks and their lateness, by schedule."""
    labels = ("schedule", "function")
    late = HistogramMetricFamily(
        "tundish_schedule_lateness_seconds", "How long after its moment a tick was submitted.", labels=labels
    )
    ticks = CounterMetricFamily(
        "tundish_schedule_ticks",
        "Ticks that were submitted, left out (skipped: overlap, pause), or not made up for (missed).",
        labels=(*labels, "outcome"),
    )
    for schedule, state in found:
        named = (schedule.name, schedule.function)
        bounds = ["+Inf" if bound == float("inf") else str(bound) for bound in LATE_BOUNDS]
        late.add_metric(named, list(zip(bounds, accumulate(state.counts), strict=True)), state.late_sum)
        for outcome in ("submitted", "skipped", "missed"):
            ticks.add_metric((*named, outcome), getattr(state, outcome))
    yield late
    yield ticks
