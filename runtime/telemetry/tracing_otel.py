"""Spans by OpenTelemetry. Imported where they are wanted; its own OTEL_* variables are read by the library itself."""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SimpleSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

from runtime.config.logs import TracingSpec
from runtime.security.redact import Redactor
from runtime.telemetry.tracing import Kind, Value
from runtime.values.trace_context import Trace

FLUSH_SECONDS = 2.0
"""How long the end of a process may wait for a collector. The library's own wait knows no limit but the exporter's."""

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_KINDS = {kind.name.lower(): kind for kind in trace.SpanKind}
_NO_FAILURE = frozenset({"Ignore", "Suspended", "TaskRevokedError", "CancelledError", "GeneratorExit"})
"""By their names, since Celery is not known here: an attempt that leaves by one of these has not failed."""


class OtelSpan:
    """One span that is under way."""

    def __init__(self, span: trace.Span, redact: Redactor) -> None:
        self._span, self._redact = span, redact
        self.discarded = False

    @property
    def traceparent(self) -> str | None:
        return _traceparent(self._span)

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def set(self, attributes: Mapping[str, Value]) -> None:
        self._span.set_attributes(dict(attributes))

    def link(self, traceparent: str) -> None:
        if context := _context(traceparent):
            self._span.add_link(context)

    def fail(self, reason: str) -> None:
        self._span.set_status(trace.StatusCode.ERROR, self._redact(reason))

    def discard(self) -> None:
        self.discarded = True


class OtelTracer:
    """The spans of this process. A provider that the program has set already is taken as it is."""

    def __init__(self, spec: TracingSpec, process: str) -> None:
        provider = trace.get_tracer_provider()
        if isinstance(provider, trace.ProxyTracerProvider):
            provider = _provider(spec)
            trace.set_tracer_provider(provider)
        self._provider = provider
        self._tracer = provider.get_tracer("tundish")
        self._process, self._redact = process, Redactor()

    @contextmanager
    def span(
        self, name: str, kind: Kind, parent: str | None, links: Sequence[str], attributes: Mapping[str, Value]
    ) -> Iterator[OtelSpan]:
        made = self._start(name, kind, parent, links, attributes)
        told = OtelSpan(made, self._redact)
        try:
            # What the block uses that knows OpenTelemetry goes below this span.
            with trace.use_span(made, end_on_exit=False, record_exception=False, set_status_on_exception=False):
                yield told
        except BaseException as error:
            if type(error).__name__ not in _NO_FAILURE:
                made.set_attribute("error.type", type(error).__name__)
                told.fail(f"{type(error).__name__}: {error}")
            raise
        finally:
            if not told.discarded:
                made.end()

    def past(
        self,
        name: str,
        parent: str | None,
        links: Sequence[str],
        attributes: Mapping[str, Value],
        start: int,
        end: int,
    ) -> str:
        made = self._start(name, "internal", parent, links, attributes, start)
        made.end(max(start, end))
        return _traceparent(made)

    def link_current(self, traceparent: str) -> None:
        if context := _context(traceparent):
            trace.get_current_span().add_link(context)

    def flush(self) -> None:
        if flush := getattr(self._provider, "force_flush", None):
            sending = threading.Thread(target=flush, name="spans", daemon=True)
            sending.start()
            sending.join(FLUSH_SECONDS)

    def _start(
        self,
        name: str,
        kind: Kind,
        parent: str | None,
        links: Sequence[str],
        attributes: Mapping[str, Value],
        start: int | None = None,
    ) -> trace.Span:
        above = _context(parent) if parent else None
        # An empty context: the parent is the one that was named, never whatever span is under way here.
        context = trace.set_span_in_context(trace.NonRecordingSpan(above), Context()) if above else Context()
        return self._tracer.start_span(
            name,
            context=context,
            kind=_KINDS[kind],
            attributes={"tundish.process": self._process, **attributes},
            links=[trace.Link(found) for one in links if (found := _context(one))],
            start_time=start,
        )


def _provider(spec: TracingSpec) -> TracerProvider:
    """One that sends to where the file or the environment wants it."""
    resource = Resource.create(
        {
            "service.name": os.environ.get("OTEL_SERVICE_NAME") or "tundish",
            "service.instance.id": f"{socket.gethostname()}-{os.getpid()}",
        }
    )
    # None: as OTEL_TRACES_SAMPLER says, and everything where it says nothing.
    own = spec.ratio < 1 and "OTEL_TRACES_SAMPLER" not in os.environ
    kept = ParentBased(TraceIdRatioBased(spec.ratio)) if own else None
    provider = TracerProvider(sampler=kept, resource=resource)
    if spec.exporter == "console":
        provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
        return provider
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    endpoint = f"{spec.endpoint.rstrip('/')}/v1/traces" if spec.endpoint else None
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    return provider


def _traceparent(span: trace.Span) -> Trace:
    found = span.get_span_context()
    traceparent = f"00-{found.trace_id:032x}-{found.span_id:016x}-{int(found.trace_flags):02x}"
    return Trace(traceparent, found.trace_state.to_header())


def _context(traceparent: str) -> trace.SpanContext | None:
    match = _TRACEPARENT.match(traceparent)
    if match is None:
        return None
    flags = trace.TraceFlags(int(match[3], 16))
    state = trace.TraceState.from_header([getattr(traceparent, "state", "")])
    return trace.SpanContext(int(match[1], 16), int(match[2], 16), is_remote=True, trace_flags=flags, trace_state=state)
