"""Spans: none where nobody wants them; else one trace through calls, attempts, chains and gathered calls."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis

from gateway.app import create_app
from gateway.search.swap_spans import SwapSpans
from gateway.web.traced import Traced, parent_of
from runtime.config.load import load_settings
from runtime.config.logs import TracingSpec
from runtime.config.settings import Settings
from runtime.deployment.deployment import Deployment
from runtime.errors import ConfigError
from runtime.invocations.submit import Call, submit
from runtime.telemetry import log_fields
from runtime.telemetry.tracing import Tracing, Value
from runtime.values.trace_context import Trace, headers
from tests import gatewaying
from tests.collecting import Collector, collector
from tests.workers import SAMPLES, descendants, ended, known, upkeep, worker

FILE = SAMPLES / "telling" / "functions.yaml"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OTHER = "00-1bf7651916cd43dd8448eb211c80319c-c7ad6b7169203331-01"
ID, PARENT = TRACE[3:35], TRACE[36:52]


@pytest.fixture(scope="module")
def collected() -> Iterator[Collector]:
    with collector() as found:
        yield found


@pytest.fixture(scope="module")
def traced(broker_url: str, client: redis.Redis, deployed: Deployment, collected: Collector) -> Iterator[None]:
    """A worker for each queue that sends its spans to the collector."""
    environ = collected.environ
    with (
        worker(FILE, broker_url, "work", environ=environ),
        worker(FILE, broker_url, "many", environ=environ),
        upkeep(client, deployed),
    ):
        yield


def test_without_an_endpoint_a_trace_is_passed_on_and_nothing_is_imported() -> None:
    code = (
        "import sys, gateway.app, gateway.serve, runtime.attempts.task, triggers.beat, triggers.service\n"
        "from runtime.config.logs import TracingSpec\n"
        "from runtime.telemetry.tracing import Tracing\n"
        "tracing = Tracing(TracingSpec(), 'x')\n"
        f"with tracing.span('a', parent='{TRACE}', links=['{OTHER}']) as span:\n"
        "    span.set({'a': 1}); span.fail('b'); span.rename('c'); span.link('d'); span.discard()\n"
        "    print(span.traceparent, tracing.past('d', 1, 2, parent='e'), tracing.on)\n"
        # redis-py looks for the interface of metrics by itself.
        "ours = ('opentelemetry.sdk.trace', 'opentelemetry.exporter')\n"
        "print([name for name in sys.modules if name.startswith(ours)])"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"{TRACE} e False", "[]"]


@pytest.mark.parametrize(
    ("written", "environ", "on"),
    [
        ("", {}, False),
        ("", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a"}, True),
        ("", {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://a/v1/traces"}, True),
        ("", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a", "OTEL_SDK_DISABLED": "true"}, False),
        ("", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a", "OTEL_TRACES_EXPORTER": "none"}, False),
        ("", {"OTEL_TRACES_EXPORTER": "console"}, True),
        ("tracing: {endpoint: 'http://a'}", {}, True),
        ("tracing: {endpoint: 'http://a'}", {"OTEL_TRACES_EXPORTER": "none"}, False),
        ("tracing: {endpoint: 'http://a', exporter: none}", {}, False),
    ],
)
def test_who_wants_spans(tmp_path: Path, written: str, environ: dict[str, str], on: bool) -> None:
    file = tmp_path / "functions.yaml"
    file.write_text(f"version: 1\nfunctions: {{}}\n{written}\n")
    assert load_settings(environ, file=file).tracing.on is on


def test_what_cannot_be_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "functions.yaml"
    file.write_text("version: 1\nfunctions: {}\ntracing: {endpoint: 'http://a'}\n")
    for environ, told in (
        ({"OTEL_TRACES_EXPORTER": "jaeger"}, "'jaeger' is not one of none, otlp, console"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "'grpc' is not supported; spans are sent by http/protobuf"),
    ):
        with pytest.raises(ConfigError) as caught:
            load_settings(environ, file=file)
        assert told in str(caught.value.problems[0])
    monkeypatch.setattr("runtime.config.logs.installed", lambda: False)
    with pytest.raises(ConfigError) as caught:
        load_settings({}, file=file)
    assert "pip install 'tundish[otel]'" in str(caught.value.problems[0])


def test_without_the_library_there_is_a_warning_and_no_span(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "runtime.telemetry.tracing_otel", None)
    tracing = Tracing(TracingSpec(exporter="otlp"), "x")
    for _ in range(2):
        with tracing.span("a", parent=TRACE) as span:
            assert span.traceparent == TRACE
    assert [record.message for record in caplog.records if "tundish[otel]" in record.message] == caplog.messages[:1]


def test_a_collector_that_is_away_costs_spans_and_no_calls() -> None:
    """Nothing listens there; neither the work nor the end of the process waits for it longer than a moment."""
    code = (
        "import time\n"
        "from runtime.telemetry import logs, tracing_otel\n"
        "from runtime.config.logs import TracingSpec\n"
        "from runtime.telemetry.tracing import Tracing\n"
        "logs.setup('x')\n"
        "tracing_otel.FLUSH_SECONDS = 0.1\n"
        "tracing = Tracing(TracingSpec(endpoint='http://127.0.0.1:9'), 'x')\n"
        "with tracing.span('a') as span: print(span.traceparent is not None)\n"
        "began = time.monotonic(); tracing.flush(); print(time.monotonic() - began < 3)"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["True", "True"]
    assert "Transient" not in done.stderr


def test_a_call_is_one_trace_down_to_what_follows_it(
    traced: None,
    client: redis.Redis,
    deployed: Deployment,
    collected: Collector,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # What begins in the millisecond in which it was queued has not waited, and has no span of that.
    monkeypatch.setattr("runtime.invocations.submit.now_ms", lambda: time.time_ns() // 1_000_000 - 20)
    task_id = submit(client, deployed, Call("talk", {"word": "x"}, trace=Trace(TRACE, "rojo=1"), tenant="acme"))
    ended(client, task_id)
    run = collected.named("talk", ID)
    assert (run.parent, run.kind, run.error) == (PARENT, 5, "")
    assert run.told["tundish.call.id"] == task_id
    assert (run.told["tundish.tenant"], run.told["messaging.destination.name"]) == ("acme", "work")
    assert run.told["tundish.process"] == "worker work"
    # The call that follows has waited, too, and its span may be the first to come.
    (waited,) = collected.wait(lambda span: (span.name, span.told.get("tundish.call.id")) == ("wait in work", task_id))
    assert (waited.trace, waited.parent) == (ID, PARENT)
    after = collected.named("after", ID)
    assert collected.is_below(after, "talk")
    (follower,) = [one for one in descendants(client, task_id) if one != task_id]
    assert (known(client, follower).trace or "")[3:52] == f"{ID}-{run.id}"
    assert headers(known(client, follower).trace)["tracestate"] == "rojo=1"
    assert collected.services == {"tundish"}


def test_children_are_below_their_parent(
    traced: None, client: redis.Redis, deployed: Deployment, collected: Collector
) -> None:
    task_id = submit(client, deployed, Call("parent", {}, trace=OTHER))
    assert ended(client, task_id).state == "succeeded"
    children = collected.wait(lambda span: span.name == "after" and span.trace == OTHER[3:35], count=2)
    assert all(collected.is_below(child, "parent") for child in children)


def test_attempts_are_side_by_side_and_the_failed_one_says_why(
    traced: None, client: redis.Redis, deployed: Deployment, collected: Collector
) -> None:
    trace = OTHER.replace("1b", "2b")
    task_id = submit(client, deployed, Call("flaky", {}, trace=trace))
    assert ended(client, task_id).state == "succeeded"
    first, second = collected.wait(lambda span: span.name == "flaky" and span.trace == trace[3:35], count=2)
    assert first.parent == second.parent == trace[36:52]
    assert (first.told["tundish.attempt"], second.told["tundish.attempt"]) == (1, 2)
    assert "the first attempt always fails" in first.error and not second.error


def test_what_a_function_does_with_opentelemetry_is_below_it(
    traced: None, client: redis.Redis, deployed: Deployment, collected: Collector
) -> None:
    trace = OTHER.replace("1b", "3b")
    task_id = submit(client, deployed, Call("spanned", {}, trace=trace))
    assert ended(client, task_id).state == "succeeded"
    theirs = collected.named("their own", trace[3:35])
    assert collected.is_below(theirs, "spanned")


def test_gathered_calls_stay_in_their_traces_and_are_linked(
    traced: None, client: redis.Redis, deployed: Deployment, collected: Collector
) -> None:
    traces = [OTHER.replace("1b", f"{number}e") for number in range(4, 8)]
    ids = [submit(client, deployed, Call("score", {"number": n}, trace=one)) for n, one in enumerate(traces)]
    for task_id in ids:
        assert ended(client, task_id).state == "succeeded"
    for task_id, trace in zip(ids, traces, strict=True):
        member = collected.named("score (gathered)", trace[3:35])
        assert (member.parent, member.told["tundish.call.id"]) == (trace[36:52], task_id)
        ((linked, by),) = member.links
        carrier = collected.wait(lambda span, by=by: span.id == by)[0]  # type: ignore[misc]
        assert (carrier.name, carrier.trace, carrier.parent) == ("score", linked, "")


def test_a_request_is_the_parent_of_its_call(
    made: Settings, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    monkeypatch.setattr("opentelemetry.trace.get_tracer_provider", lambda: provider)
    settings = made.model_copy(update={"tracing": TracingSpec(exporter="otlp")})
    with gatewaying.serving(settings) as web:
        first = web.post("/async-function/add", json={"a": 1}, headers={"traceparent": TRACE})
        second = web.post("/async-function/add", json={"a": 1})
        event = {"specversion": "1.0", "id": "1", "source": "s", "type": "t", "traceparent": OTHER, "data": {"a": 1}}
        kind = {"Content-Type": "application/cloudevents+json"}
        third = web.post("/async-function/add", json=event, headers=kind)
        web.get("/healthz")
        web.get("/functions")
        web.post("/async-function/nope", json={})
    spans = {span.context.span_id: span for span in kept.get_finished_spans()}
    assert [span.name for span in spans.values()] == ["POST /async-function/{name}"] * 4
    for answer, trace in ((first, ID), (second, None), (third, None)):
        record = known(redis_client, answer.json()["task_id"])
        assert record.trace == answer.headers["traceparent"]
        if answer is third:
            assert record.trace == OTHER  # what an event says of itself; the request's own trace is another one
            continue
        span: Any = spans[int((record.trace or "")[36:52], 16)]
        assert f"{span.context.trace_id:032x}" == (trace or (record.trace or "")[3:35])
        assert f"{span.parent.span_id:016x}" == PARENT if trace else span.parent is None
        assert span.attributes["http.response.status_code"] == 202
        assert span.attributes["tundish.call.id"] == record.id
    assert {(span.attributes or {})["http.response.status_code"] for span in spans.values()} == {202, 404}


def test_no_middleware_where_nobody_wants_spans(made: Settings) -> None:
    wanted = made.model_copy(update={"tracing": TracingSpec(exporter="otlp")})
    names = [
        [str(one.cls) for one in create_app(found, gatewaying.deployment(made)).user_middleware]
        for found in (made, wanted)
    ]
    assert [str(Traced) in found for found in names] == [False, True]
    assert parent_of({}, None, OTHER) == OTHER and parent_of({}, TRACE, OTHER) == TRACE


class Told(Tracing):
    """Keeps what it is told of the past."""

    def __init__(self) -> None:
        super().__init__(TracingSpec(exporter="otlp"), "x")
        self.names: list[tuple[str, str | None, list[str]]] = []
        self.linked: list[str] = []

    def past(
        self,
        name: str,
        start: int,
        end: int,
        *,
        parent: str | None = None,
        links: Sequence[str] = (),
        attributes: Mapping[str, Value] | None = None,
    ) -> str:
        self.names.append((name, parent, list(links)))
        return f"of {name}"

    def link_current(self, traceparent: str) -> None:
        self.linked.append(traceparent)


@pytest.mark.parametrize("announced_first", [True, False])
def test_a_swap_and_the_first_search_end_the_trace_of_a_build(announced_first: bool) -> None:
    told = Told()
    swaps = SwapSpans(told)
    if announced_first:
        swaps.heard("default", 2, TRACE)
    swaps.opened("default", 2, 1)
    if not announced_first:
        swaps.heard("default", 2, TRACE)
    swaps.heard("default", 2, OTHER)  # hot_swap repeats it
    swaps.searched("default", 1, 5)  # still answered by the version before
    with log_fields.about({"traceparent": OTHER}):
        for _ in range(2):
            swaps.searched("default", 2, 5)
    assert told.names == [("swap default", TRACE, []), ("first search default", "of swap default", [OTHER])]
    assert told.linked == ["of swap default"]
    swaps.heard("other", 3, "")
    swaps.opened("other", 3, 1)
    swaps.searched("other", 3, 1)
    assert len(told.names) == 2
