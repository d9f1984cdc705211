"""Spans of what a process does: OpenTelemetry behind a door that costs nothing while it is shut.

Shut, a span passes the trace that it was given on, so that a caller's `traceparent` reaches whatever comes of a call.
Open, each span is a part of its own, and what comes of it is below it. The library is imported at the first span.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Literal, Protocol, Self

from runtime.config.logs import TracingSpec

Kind = Literal["internal", "server", "client", "producer", "consumer"]
Value = str | int | float | bool
MOST_LINKS = 64
"""Links of one span; what has more names the first ones."""

log = logging.getLogger("tundish.tracing")


class Span(Protocol):
    """What is under way."""

    @property
    def traceparent(self) -> str | None:
        """The W3C traceparent of what comes of it."""
        ...

    def rename(self, name: str) -> None: ...
    def set(self, attributes: Mapping[str, Value]) -> None: ...
    def link(self, traceparent: str) -> None:
        """Another trace belongs to it, too."""
        ...

    def fail(self, reason: str) -> None: ...
    def discard(self) -> None:
        """It came to nothing: nobody is told of it."""
        ...


class Tracer(Protocol):
    """Makes spans. `parent` and `links` are traceparents; times are nanoseconds since the epoch."""

    def span(
        self, name: str, kind: Kind, parent: str | None, links: Sequence[str], attributes: Mapping[str, Value]
    ) -> AbstractContextManager[Span]: ...

    def past(
        self,
        name: str,
        parent: str | None,
        links: Sequence[str],
        attributes: Mapping[str, Value],
        start: int,
        end: int,
    ) -> str: ...

    def link_current(self, traceparent: str) -> None: ...
    def flush(self) -> None: ...


class _Shut:
    """The span of nobody: it has the trace that it was given."""

    __slots__ = ("traceparent",)

    def __init__(self, parent: str | None) -> None:
        self.traceparent = parent

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def rename(self, name: str) -> None: ...
    def set(self, attributes: Mapping[str, Value]) -> None: ...
    def link(self, traceparent: str) -> None: ...
    def fail(self, reason: str) -> None: ...
    def discard(self) -> None: ...


class Tracing:
    """The spans of one process. May be made before a fork: each process opens the door for itself."""

    def __init__(self, spec: TracingSpec, process: str) -> None:
        self._spec, self._process = spec, process
        self._tracer: Tracer | None = None
        self._pid = 0
        self._opening = threading.Lock()

    @property
    def on(self) -> bool:
        return self._spec.on

    def span(
        self,
        name: str,
        *,
        kind: Kind = "internal",
        parent: str | None = None,
        links: Sequence[str] = (),
        attributes: Mapping[str, Value] | None = None,
    ) -> AbstractContextManager[Span]:
        """A span around a block; one that is left by an error has failed."""
        if not self._spec.on or (tracer := self._open()) is None:
            return _Shut(parent)
        return tracer.span(name, kind, parent, links[:MOST_LINKS], attributes or {})

    def past(
        self,
        name: str,
        start: int,
        end: int,
        *,
        parent: str | None = None,
        links: Sequence[str] = (),
        attributes: Mapping[str, Value] | None = None,
    ) -> str | None:
        """A span of what is over, from `start` to `end` (ns since the epoch); its traceparent."""
        if not self._spec.on or (tracer := self._open()) is None:
            return parent
        return tracer.past(name, parent, links[:MOST_LINKS], attributes or {}, start, end)

    def link_current(self, traceparent: str) -> None:
        """Link the span that is under way here with another trace."""
        if self._spec.on and (tracer := self._open()):
            tracer.link_current(traceparent)

    def flush(self) -> None:
        """Send what has not been sent: this process ends."""
        if self._tracer and self._pid == os.getpid():
            self._tracer.flush()

    def _open(self) -> Tracer | None:
        if self._pid != os.getpid():
            with self._opening:
                if self._pid != os.getpid():
                    self._tracer = self._made()
                    self._pid = os.getpid()
        return self._tracer

    def _made(self) -> Tracer | None:
        try:
            from runtime.telemetry.tracing_otel import OtelTracer
        except ImportError as error:
            log.warning("no spans are made: %s; pip install 'tundish[otel]'", error)
            return None
        return OtelTracer(self._spec, self._process)
