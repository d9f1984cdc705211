"""Counts as Prometheus' families: one set of names for the whole system (gateway/operations/metrics.py), one worker."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from runtime.host.process_tree import Usage
from runtime.invocations.invocation import TERMINAL
from runtime.metrics.measures import Counts
from runtime.values.histogram import Histogram, merged

Labels = TypeVar("Labels", bound="str | tuple[str, ...]")
Family = TypeVar("Family", GaugeMetricFamily, CounterMetricFamily)


def gauge(name: str, text: str, label: str | tuple[str, ...], values: Mapping[Labels, float]) -> Metric:
    """A family of gauges with one value for each label (or tuple of labels)."""
    return _filled(GaugeMetricFamily(name, text, labels=_tuple(label)), values)


def counter(name: str, text: str, label: str | tuple[str, ...], values: Mapping[Labels, float]) -> Metric:
    """The same of counters; Prometheus adds `_total` to the name."""
    return _filled(CounterMetricFamily(name, text, labels=_tuple(label)), values)


def histogram(name: str, text: str, label: str | tuple[str, ...], values: Mapping[Labels, Histogram]) -> Metric:
    family = HistogramMetricFamily(name, text, labels=_tuple(label))
    for found, value in values.items():
        family.add_metric(_tuple(found), *value.samples())
    return family


def tasks(counts: Counts, functions: Iterable[str]) -> Iterator[Metric]:
    """How calls ended, ran and waited. Known functions are told of before their first call, so that it can be seen."""
    ends = {(name, state): 0 for name in functions for state in sorted(TERMINAL)} | dict(counts.ends)
    succeeded = {name: count for (name, state), count in ends.items() if state == "succeeded"}
    known = dict.fromkeys(succeeded, 0)
    both = ("task_name", "queue")
    yield counter("celery_tasks", "Invocations that ended.", ("task_name", "status"), ends)
    yield counter("celery_task_success", "Invocations that succeeded.", "task_name", succeeded)
    text = "Invocations that failed for good (failed, dead or expired), by the type of their error."
    yield counter("celery_task_failure", text, ("task_name", "exception_type"), counts.failures)
    yield counter("celery_task_retry", "Attempts that are repeated.", "task_name", known | dict(counts.retries))
    yield histogram("celery_task_execution_seconds", "How long attempts ran.", both, counts.runs)
    yield histogram("celery_task_duration_seconds", "The same, by function alone.", "task_name", merged(counts.runs))
    text = "How long attempts had waited in their queue for a worker."
    yield histogram("celery_task_queue_wait_seconds", text, both, counts.waits)


def active(running: Mapping[str, float]) -> Metric:
    return gauge("celery_active_tasks", "Invocations that a worker runs now.", "worker", running)


def usage(found: Mapping[tuple[str, str], Usage]) -> Iterator[Metric]:
    """What workers take of their machine, by (worker, queue)."""
    labels = ("worker", "queue")
    seconds = {one: used.cpu_seconds for one, used in found.items()}
    memory = {one: float(used.memory_bytes) for one, used in found.items()}
    processes = {one: float(used.processes) for one, used in found.items()}
    yield counter("tundish_worker_cpu_seconds", "Processor time of a worker and its processes.", labels, seconds)
    text = "Resident memory of a worker and its processes; what they share is counted in each."
    yield gauge("tundish_worker_memory_bytes", text, labels, memory)
    yield gauge("tundish_worker_processes", "Processes of a worker, its parent included.", labels, processes)


def _filled(family: Family, values: Mapping[Labels, float]) -> Family:
    for found, value in values.items():
        family.add_metric(_tuple(found), value)
    return family


def _tuple(label: str | tuple[str, ...]) -> tuple[str, ...]:
    return (label,) if isinstance(label, str) else label
