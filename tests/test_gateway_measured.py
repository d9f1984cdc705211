"""How long answers took, as Prometheus sees it."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from gateway.web.measured import _BUCKETS, Requests

SECONDS = (0.0, 0.0009, 0.001, 0.0011, 0.3, 300.0, 301.0, 0.3)


def samples(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def test_the_counts_are_those_of_prometheus_own_histogram() -> None:
    requests, theirs = Requests(), CollectorRegistry()
    labels = ("route", "method", "status")
    name = "tundish_gateway_request_seconds"
    histogram = Histogram(name, "Time to answer.", labels, registry=theirs, buckets=_BUCKETS)
    for seconds in SECONDS:
        requests.observe("/search", "GET", 200, seconds)
        histogram.labels("/search", "GET", "200").observe(seconds)
    requests.observe("/search", "BREW", 405, 0.2)
    histogram.labels("/search", "other", "405").observe(0.2)
    ours = CollectorRegistry()
    ours.register(requests)
    assert samples(generate_latest(ours)) == samples(generate_latest(theirs))


def test_without_requests_there_is_nothing_to_tell() -> None:
    registry = CollectorRegistry()
    registry.register(Requests())
    assert samples(generate_latest(registry)) == {}
