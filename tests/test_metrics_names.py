"""Every metric: what is exported is what docs/metrics.md says, names that dashboards for Celery expect among them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import redis
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from starlette.testclient import TestClient

from gateway.operations import metrics_system, schedules
from gateway.operations.metrics_index import Told
from gateway.operations.metrics_usage import Quotas
from gateway.state import Gateway
from runtime.attempts.attempt import Attempt
from runtime.attempts.tally import Tally
from runtime.broker.presence import Process
from runtime.config.settings import CronTrigger, Settings
from runtime.context import IndexVersion
from runtime.host.process_tree import Meter, Usage
from runtime.invocations.census import Census
from runtime.invocations.workload import QueueLoad, WorkerLoad, Workload
from runtime.metrics.measures import Counts
from runtime.schedules.schedule import Schedule
from runtime.schedules.state import ScheduleState
from runtime.values.histogram import RETRIES, Histogram
from runtime.worker import worker_metrics

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "metrics.md").read_text()

CALLS = {
    "celery_active_tasks{worker}",
    "celery_task_duration_seconds{task_name}",
    "celery_task_execution_seconds{task_name,queue}",
    "celery_task_failure_total{task_name,exception_type}",
    "celery_task_queue_wait_seconds{task_name,queue}",
    "celery_task_retry_total{task_name}",
    "celery_task_success_total{task_name}",
    "celery_tasks_total{task_name,status}",
    "tundish_worker_cpu_seconds_total{worker,queue}",
    "tundish_worker_memory_bytes{worker,queue}",
    "tundish_worker_processes{worker,queue}",
}
SYSTEM = CALLS | {
    "celery_embedding_batches_total{index}",
    "celery_queue_depth{queue_name}",
    "celery_queue_size{queue_name}",
    "tundish_broker_memory_bytes",
    "tundish_broker_memory_limit_bytes",
    "tundish_broker_up",
    "tundish_bucket_changes_total{trigger}",
    "tundish_bucket_events_oldest_seconds",
    "tundish_bucket_events_total",
    "tundish_bucket_events_waiting",
    "tundish_bucket_lag_seconds{trigger,bucket}",
    "tundish_function_counts_total{task_name,name}",
    "tundish_invocations{state}",
    "tundish_parked{gate}",
    "tundish_paused{kind,name}",
    "tundish_processes{kind}",
    "tundish_queue_oldest_seconds{queue_name}",
    "tundish_queue_unserved{queue_name}",
    "tundish_queue_workers{queue_name}",
    "tundish_schedule_interval_seconds{schedule,function}",
    "tundish_schedule_lateness_seconds{schedule,function}",
    "tundish_schedule_overdue_seconds{schedule,function}",
    "tundish_schedule_ticks_total{schedule,function,outcome}",
    "tundish_task_last_success_timestamp_seconds{task_name}",
    "tundish_task_latency_seconds{task_name}",
    "tundish_task_retries{task_name}",
}
QUOTAS = {"tundish_tenant_quota_used_ratio{tenant,what}"}
GATEWAY = {
    "celery_faiss_index_version{index}",
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_virtual_memory_bytes",
    "tundish_gateway_refused_total{reason}",
    "tundish_gateway_request_seconds{route,method,status}",
    "tundish_index_bytes{index}",
    "tundish_index_published_timestamp_seconds{index}",
    "tundish_index_swaps_total{index}",
    "tundish_index_urgency{index}",
    "tundish_index_vectors{index}",
    "tundish_outbox_bytes",
    "tundish_outbox_calls",
    "tundish_search_seconds{index}",
}
"""All there is. Who adds a metric writes it here and into docs/metrics.md."""

VERSION = IndexVersion("default", 3, "abcdef01", 10, 5, 384, 4096, 1e9, "flat", "m")


def full() -> metrics_system.System:
    """A system of which there is something to tell everywhere."""
    pair, name = {("f", "q"): Histogram()}, {"f": Histogram()}
    counts = Counts(
        Counter({("f", "dead"): 1}),
        Counter({("f", "KeyError"): 1}),
        Counter({"f": 1}),
        runs=pair,
        waits=pair,
        latencies=name,
        repeats={"f": Histogram(RETRIES)},
        succeeded={"f": 1.0},
        lags={("t", "b"): Histogram()},
        others=Counter({("batches", "default"): 1, ("changes", "t"): 1, ("counted", "f\nrows"): 1}),
    )
    process = Process("worker", "q@host", 1, "host", 0.0, queue="q")
    load = Workload(
        [QueueLoad("q", {5: 1}, 1, 0, 1, 2.0, paused=False, workers=["q@host"])],
        [WorkerLoad(process, "q", ["1"], 1)],
        processes=[process],
    )
    tick = Schedule("f-1", "f", CronTrigger(every=60.0))
    return metrics_system.System(
        True,
        ["f"],
        ["default"],
        counts,
        load,
        {"q@host": Usage(1.0, 2, 3)},
        Census({"queued": 1}, {"function:f": 1}),
        {("function", "g"): {}},
        [(tick, ScheduleState(tick=1e9))],
        metrics_system.Broker(1, 2, 3, 4, 5.0),
    )


def named(families: Iterable[Metric]) -> set[str]:
    """As docs/metrics.md writes them: name and labels."""
    found = set()
    for family in families:
        total = "_total" if family.type == "counter" and not family.name.endswith("_total") else ""
        for sample in family.samples:
            labels = ",".join(label for label in sample.labels if label != "le")
            found.add(f"{family.name}{total}{{{labels}}}" if labels else f"{family.name}{total}")
    return found


def of_a_worker() -> set[str]:
    tally = Tally("q")
    told = worker_metrics.Told("q@host", "q", lambda: ["f"], lambda: 1, tally, Meter())
    attempt = Attempt("id", 1, 1, {b"queued": b"1000", b"started": b"1500"})
    for state in ("retrying", "dead"):
        tally.ended(attempt, "f", state, 0.2, "KeyError")
    return named(told.collect())


def of_a_gateway(gateway: Gateway) -> set[str]:
    gateway.indexes.versions = lambda: {"default": VERSION}  # type: ignore[method-assign]
    gateway.search_times.add("default", 0.01)
    gateway.search_times.swaps["default"] += 1
    gateway.requests.observe("/search", "GET", 200, 0.1)
    told = (gateway.requests, gateway.auth.refusals, Told(gateway), gateway.courier)
    return named(metric for one in told for metric in one.collect())


def documented() -> set[str]:
    """The first column of every table of metrics."""
    rows = re.findall(r"^\| ((?:`[a-z_]+(?:\{[a-z_,]+\})?`(?: · )?)+) \| (?:gauge|counter|histogram|–) \|", PAGE, re.M)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def test_the_whole_system_is_told_by_these_names() -> None:
    assert named(full().collect()) == SYSTEM


def test_a_worker_is_told_by_these_names() -> None:
    assert of_a_worker() == CALLS


def test_a_gateway_is_told_by_these_names(web: TestClient) -> None:
    gateway: Gateway = web.app.state.gateway  # type: ignore[attr-defined]
    own = {name for name in GATEWAY if not name.startswith("process_")}
    assert of_a_gateway(gateway) == own


def test_quotas_are_told_by_these_names() -> None:
    assert named(Quotas({("t", "calls"): 0.5}).collect()) == QUOTAS


def test_the_page_has_these_names_and_no_others() -> None:
    assert documented() == SYSTEM | GATEWAY | QUOTAS


def test_no_name_is_told_twice_by_one_scrape() -> None:
    registry = CollectorRegistry()
    registry.register(full())  # a name that two collectors have is refused here
    names = [family.name for family in full().collect()]
    assert len(names) == len(set(names))


def test_a_scrape_has_them(web: TestClient, made: Settings, redis_client: redis.Redis) -> None:
    """A system in which nothing has happened yet tells of its functions, queues and parts all the same."""
    text = web.get("/metrics").text
    assert 'celery_tasks_total{status="dead",task_name="add"} 0.0' in text
    assert 'celery_task_success_total{task_name="add"} 0.0' in text
    assert 'celery_task_retry_total{task_name="add"} 0.0' in text
    assert 'celery_embedding_batches_total{index="default"} 0.0' in text
    assert 'tundish_queue_unserved{queue_name="other"} 1.0' in text
    assert 'tundish_processes{kind="beat"} 0.0' in text
    assert re.search(r"^tundish_broker_memory_bytes [1-9]", text, re.M)
    assert re.search(r"^tundish_broker_memory_limit_bytes [1-9]", text, re.M)


def test_a_schedule_is_overdue_from_the_first_tick_that_led_to_nothing() -> None:
    every = Schedule("f-1", "f", CronTrigger(every=60.0), alone=True)
    found = [(every, ScheduleState(tick=1e9))]
    late, interval = schedules.overdue(found, {"f": 1e9}, {})
    assert late.samples[0].value > 1e8
    assert interval.samples[0].value == 60.0
    rests, _ = schedules.overdue(found, {"f": 1e9}, {("schedule", "f"): {}})
    assert rests.samples[0].value == 0.0
