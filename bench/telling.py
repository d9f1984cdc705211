"""What logs and spans cost a call.

Run it with `make bench B=telling`. The worker's side of one invocation is run in this process, on a real Valkey, with
spans that go nowhere and without in turn; a line of the log is formatted as Python does, for people, and as JSON.
"""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from bench.common import report
from runtime.attempts.attempt import Attempt, claim
from runtime.attempts.ports import PortsMaker
from runtime.attempts.spans import lines_of
from runtime.attempts.task import Runner
from runtime.broker.connection import connect
from runtime.config.load import load_settings
from runtime.config.logs import TracingSpec
from runtime.config.settings import Function
from runtime.deployment.deployment import Deployment, load_deployment
from runtime.host.free_ports import Ports
from runtime.invocations.message import HEADER
from runtime.invocations.submit import Call, submit
from runtime.security.redact import Redactor
from runtime.system import services
from runtime.telemetry import log_fields
from runtime.telemetry.log_format import formatter
from runtime.telemetry.tracing import Tracing
from tests.conftest import running

CALLS, LINES = 1500, 1000
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
_YAML = "version: 1\nqueues: {q: {concurrency: 1}}\ndefaults: {queue: q}\nfunctions: {noop: {handler: code.py:noop}}\n"


def seconds(runner: Runner, deployed: Deployment, client: Any) -> float:
    """How long a worker's side of one invocation takes."""
    task_id = submit(client, deployed, Call("noop", trace=TRACE))
    request = SimpleNamespace(id=task_id, headers={HEADER: 1})
    started = time.perf_counter()
    runner.run("noop", request, (), {})
    return time.perf_counter() - started


def microseconds(work: Callable[[], object]) -> list[float]:
    """Of one call of `work`, over several looks at many of them."""
    found = []
    for _ in range(20):
        started = time.perf_counter()
        for _ in range(LINES):
            work()
        found.append((time.perf_counter() - started) / LINES * 1e6)
    return found


def lines() -> None:
    """One line of a worker's log, by how it is written."""
    made = logging.makeLogRecord({"msg": "%s[%s] %s in %.3f s", "levelname": "INFO", "name": "tundish.task"})
    made.args = ("embed_batch", "6ce71ab5-5b31-4ade-a320-5412d0c6e42c", "succeeded", 0.123)
    redact = Redactor(["a-broker-password", "a-store-secret", "an-event-token"])
    plain = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s %(message)s", "%H:%M:%S")
    with log_fields.about({"task_id": "6ce71ab5-5b31-4ade-a320-5412d0c6e42c", "function": "embed_batch"}):
        before = microseconds(lambda: plain.format(made))
        for form in ("text", "json"):
            ours = formatter(form, "worker q", redact)
            found = microseconds(lambda ours=ours: ours.format(made))  # type: ignore[misc]
            report(f"log_line_{form}", found, peer=before, peer_name="Python's own formatter", unit="µs")


def main() -> None:
    lines()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "functions.yaml").write_text(_YAML)
        (home / "code.py").write_text("def noop():\n    return None\n")
        service, url = services.valkey(home, Ports(home), services.load_credentials(home), durability="fast")
        with running(service):
            environ = {**os.environ, "CELERY_BROKER_URL": url}
            deployed = load_deployment(load_settings(environ, file=home / "functions.yaml"), environ)
            client, provider = connect(url), TracerProvider()
            provider.add_span_processor(BatchSpanProcessor(InMemorySpanExporter()))
            trace.set_tracer_provider(provider)
            bare, spanned = (Runner(client, deployed, "bench", PortsMaker(client, deployed)) for _ in range(2))
            spanned.tracing = Tracing(TracingSpec(exporter="otlp"), "bench")
            pairs = [[seconds(one, deployed, client) for one in (bare, spanned)] for _ in range(CALLS)]
            off, on = zip(*pairs[50:], strict=True)
            report("attempt_with_spans", on, peer=off, peer_name="the same, without")
            spec = deployed.find("noop").spec
            attempt: Any = claim(client, submit(client, deployed, Call("noop", trace=TRACE)), "bench")
            report("attempt_span_shut", microseconds(lambda: _enter(spec, attempt)), unit="µs")


def _enter(spec: Function, attempt: Attempt) -> None:
    with lines_of(spec, attempt):
        pass


if __name__ == "__main__":
    main()
