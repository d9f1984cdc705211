"""A collector for tests: it takes spans by OTLP over HTTP, as a real one does, and keeps them."""

from __future__ import annotations

import contextlib
import gzip
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from tests.workers import until


@dataclass(frozen=True)
class Span:
    """One span; ids are in hex, `parent` is empty for the first of a trace. `links` are (trace, span)."""

    name: str
    trace: str
    id: str
    parent: str
    kind: int
    seconds: float
    error: str
    links: tuple[tuple[str, str], ...]
    told: dict[str, Any] = field(hash=False)


@dataclass
class Collector:
    """What has come so far."""

    url: str
    spans: list[Span] = field(default_factory=list)
    services: set[str] = field(default_factory=set)
    more: threading.Event = field(default_factory=threading.Event)

    @property
    def environ(self) -> dict[str, str]:
        """What a process must be told to send its spans here, soon."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}

    def named(self, name: str, trace: str = "", within: float = 30.0) -> Span:
        """The first span of this name (in this trace), as soon as it has come."""
        return self.wait(lambda span: span.name == name and trace in ("", span.trace), within)[0]

    def wait(self, wanted: Callable[[Span], bool], within: float = 30.0, count: int = 1) -> list[Span]:
        """Spans that are wanted, as soon as there are so many of them."""

        def look() -> list[Span] | None:
            found = [span for span in list(self.spans) if wanted(span)]
            return found if len(found) >= count else None

        try:
            return until(look, within)
        except AssertionError as error:
            error.add_note("\n".join(f"{span.trace[:6]} {span.parent} > {span.id} {span.name}" for span in self.spans))
            raise

    def above(self, span: Span) -> list[str]:
        """The names of a span and of all above it in its trace, from the first one on."""
        known = {one.id: one for one in self.spans}
        names = [span.name]
        while span.parent in known:
            span = known[span.parent]
            names.append(span.name)
        return names[::-1]

    def is_below(self, span: Span, *names: str) -> bool:
        """Whether it is below spans of these names, from the first of its trace on, as soon as they have come: what
        began first often ends last."""
        try:
            return until(lambda: self.above(span)[:-1] == list(names))
        except AssertionError as error:
            error.add_note(f"it is below {self.above(span)[:-1]}")
            raise

    def take(self, body: bytes) -> None:
        request = trace_service_pb2.ExportTraceServiceRequest()
        request.ParseFromString(body)
        for resource in request.resource_spans:
            about = {one.key: one.value.string_value for one in resource.resource.attributes}
            self.services.add(about["service.name"])
            self.spans += [_span(found) for scope in resource.scope_spans for found in scope.spans]


@contextlib.contextmanager
def collector() -> Iterator[Collector]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            made.take(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made = Collector(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _span(found: Any) -> Span:
    told = {one.key: getattr(one.value, str(one.value.WhichOneof("value"))) for one in found.attributes}
    return Span(
        found.name,
        found.trace_id.hex(),
        found.span_id.hex(),
        found.parent_span_id.hex(),
        found.kind,
        (found.end_time_unix_nano - found.start_time_unix_nano) / 1e9,
        found.status.message if found.status.code == 2 else "",
        tuple((link.trace_id.hex(), link.span_id.hex()) for link in found.links),
        told,
    )
