"""What the scripts count with the end of every attempt: exact, bounded, and read back as it was."""

from __future__ import annotations

import asyncio
import json
from itertools import zip_longest
from typing import Any

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import Histogram as Theirs

from runtime import keys
from runtime.attempts.attempt import Attempt, claim, finish, repeat
from runtime.broker import scripts
from runtime.broker.connection import connect_async
from runtime.config.settings import StoreSettings
from runtime.context import Context
from runtime.deployment.deployment import Deployment
from runtime.invocations.cancel import cancel
from runtime.invocations.requeue import requeue
from runtime.invocations.retry import Decision
from runtime.invocations.submit import Call, submit
from runtime.metrics import measures
from runtime.metrics.measures import Counts
from runtime.testing import fake_context
from runtime.values.histogram import INFINITE, RETRIES, SECONDS, Histogram, merged
from tests import gatewaying


@pytest.fixture
def deployed(broker_url: str, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    return gatewaying.deployment(gatewaying.settings(broker_url, StoreSettings(), tmp_path_factory.mktemp("home")))


def read(client: redis.Redis) -> Counts:
    return measures.decode([client.hgetall(name) for name in measures.NAMES])  # type: ignore[misc]


def begun(client: redis.Redis, deployed: Deployment, task_id: str = "") -> Attempt:
    task_id = task_id or submit(client, deployed, Call("add", {"a": 1}))
    attempt = claim(client, task_id, "hand", deployed.find("add").spec)
    assert isinstance(attempt, Attempt)
    return attempt


def end(client: redis.Redis, deployed: Deployment, attempt: Attempt, state: str, error: str = "") -> None:
    fields: dict[str, Any] = {"error": json.dumps({"type": error})} if error else {"result": "1"}
    assert finish(client, deployed.find("add").spec, attempt, state, fields)


def test_an_end_counts_once_in_each(redis_client: redis.Redis, deployed: Deployment) -> None:
    attempt = begun(redis_client, deployed)
    end(redis_client, deployed, attempt, "succeeded")
    assert not finish(redis_client, deployed.find("add").spec, attempt, "succeeded", {"result": "2"})
    found = read(redis_client)
    assert found.ends == {("add", "succeeded"): 1}
    assert not found.failures
    assert found.succeeded["add"] > 1e9
    for histogram in (
        found.runs["add", "default"],
        found.waits["add", "default"],
        found.latencies["add"],
        found.repeats["add"],
    ):
        assert sum(histogram.counts) == 1
        assert 0 <= histogram.total < 60


def test_every_attempt_runs_and_a_call_is_late_once(redis_client: redis.Redis, deployed: Deployment) -> None:
    attempt = begun(redis_client, deployed)
    spec = deployed.find("add").spec
    assert repeat(redis_client, spec, attempt, Decision("retrying", 0.0), {"type": "KeyError"})
    assert requeue(redis_client, deployed, attempt.id)
    end(redis_client, deployed, begun(redis_client, deployed, attempt.id), "dead", "KeyError")
    found = read(redis_client)
    assert found.retries == {"add": 1}
    assert found.failures == {("add", "KeyError"): 1}
    assert sum(found.runs["add", "default"].counts) == sum(found.waits["add", "default"].counts) == 2
    assert sum(found.latencies["add"].counts) == 1
    assert found.repeats["add"].samples()[0][:2] == [("0.0", 0.0), ("1.0", 1.0)]
    assert "add" not in found.succeeded


def test_a_call_that_is_cancelled_is_no_failure_and_was_not_late(
    redis_client: redis.Redis, deployed: Deployment
) -> None:
    cancel(redis_client, deployed, submit(redis_client, deployed, Call("add", {"a": 1})))
    found = read(redis_client)
    assert found.ends == {("add", "cancelled"): 1}
    assert not found.failures
    assert not found.runs
    assert not found.latencies


def test_types_of_errors_are_bounded(redis_client: redis.Redis, deployed: Deployment) -> None:
    many = {f"add\nMade{number}": 1 for number in range(999)}
    redis_client.hset(keys.METRICS_FAILURES, mapping=many)  # type: ignore[arg-type]
    for error in ("Known", "Further", "Further", "Known"):
        end(redis_client, deployed, begun(redis_client, deployed), "failed", error)
    found = read(redis_client)
    assert found.failures["add", "Known"] == 2
    assert found.failures["add", "other"] == 2
    assert ("add", "Further") not in found.failures


@pytest.mark.parametrize("error", ["", "not JSON", "[1]", '{"type": 7}'], ids=["none", "text", "list", "number"])
def test_an_error_without_a_type_counts_all_the_same(
    error: str, redis_client: redis.Redis, deployed: Deployment
) -> None:
    spec = deployed.find("add").spec
    assert finish(redis_client, spec, begun(redis_client, deployed), "failed", {"error": error} if error else {})
    assert read(redis_client).failures == {("add", "unknown"): 1}


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 5_000_000), max_size=20))
def test_the_scripts_count_as_python_does(client: redis.Redis, values: list[int]) -> None:
    client.delete(keys.METRICS_TIMES)
    one = "local found = {} measure(found, 'run', 'f', 'q', tonumber(value), bound_of_ms) add_measured(found)"
    body = f"for _, value in ipairs(ARGV) do {one} end"
    scripts.run_text(client, scripts.around(body, new_work=False), [], values)
    ours = Histogram()
    for value in values:
        ours.observe(value / 1000)
    found = read(client).runs.get(("f", "q"), Histogram())
    assert found.counts == ours.counts
    assert found.total == pytest.approx(ours.total)


def test_the_scripts_know_every_bound(redis_client: redis.Redis) -> None:
    asked = "return {bound_of_ms(tonumber(ARGV[1])), bound_of_retries(tonumber(ARGV[2]))}"
    script = scripts.around(asked, new_work=False)
    for seconds, retries in zip_longest(SECONDS, RETRIES, fillvalue=0.0):
        told = scripts.run_text(redis_client, script, [], [f"{seconds * 1000:.0f}", f"{retries:.0f}"])
        assert [int(bound) for bound in told] == [round(seconds * 1000), retries]
    assert scripts.run_text(redis_client, script, [], [3_600_001, 11]) == [b"inf", b"inf"]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0, 10_000), max_size=20))
def test_a_histogram_is_that_of_prometheus(values: list[float]) -> None:
    ours, theirs = Histogram(SECONDS), Theirs("x", "x", registry=None, buckets=SECONDS)
    for value in values:
        ours.observe(value)
        theirs.observe(value)
    told = [one for one in next(iter(theirs.collect())).samples if one.name == "x_bucket"]
    assert [(one.labels["le"], one.value) for one in told] == ours.samples()[0]


def test_bounds_of_another_version_count_at_the_next_larger_one() -> None:
    histogram = Histogram((1.0, 5.0))
    for bound in (0.5, 1.0, 2.0, 5.0, 7.0, INFINITE):
        histogram.add(bound, 1)
    assert histogram.counts == [2, 2, 2]
    assert sum(merged({("f", "a"): histogram, ("f", "b"): histogram})["f"].counts) == 12


def test_kinds_of_another_version_are_left_out(redis_client: redis.Redis) -> None:
    redis_client.hset(keys.METRICS_TIMES, "someday\nf\nq\n5", 1)
    assert read(redis_client) == Counts()


def test_what_is_done_beside_calls(redis_client: redis.Redis, broker_url: str) -> None:
    measures.count(redis_client, measures.BATCHES, {"default": 2, "other": 0})
    measures.lag(redis_client, "embed", "documents", [0.2, 0.2, 40.0])
    measures.lag(redis_client, "embed", "documents", [])

    async def asked() -> Counts:
        client = connect_async(broker_url)
        try:
            return await measures.read_async(client)
        finally:
            await client.aclose()

    found = asyncio.run(asked())
    assert found.others == {("batches", "default"): 2}
    assert found.lags["embed", "documents"].total == pytest.approx(40.4)
    assert sum(found.lags["embed", "documents"].counts) == 3


def test_what_functions_count_is_bounded_and_named(redis_client: redis.Redis) -> None:
    for number in range(measures.MOST_NAMES + 5):
        measures.count(redis_client, measures.COUNTED, {f"f\nname{number}": 1})
    measures.count(redis_client, measures.COUNTED, {"f\nname0": 1})
    found = read(redis_client).others
    assert len(found) == measures.MOST_NAMES
    assert found["counted", "f\nname0"] == 2


def test_context_count() -> None:
    counted: list[tuple[str, int]] = []
    context: Context = fake_context(count_in=lambda name, amount: counted.append((name, amount)))
    context.count("rows_read", 3)
    context.count("rows_read")
    assert counted == [("rows_read", 3), ("rows_read", 1)]
    for name, amount in (
        ("Rows", 1),
        ("rows read", 1),
        ("", 1),
        ("x" * 65, 1),
        ("rows", -1),
        ("rows", 1.5),
        ("r", True),
    ):
        with pytest.raises(ValueError, match="count: "):
            context.count(name, amount)  # type: ignore[arg-type]
