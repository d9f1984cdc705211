"""What logs and traces say of an attempt: the fields of its lines, and its span, with all that comes of it below."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from runtime.attempts.attempt import Attempt
from runtime.config.settings import Function
from runtime.telemetry import log_fields
from runtime.telemetry.tracing import Span, Tracing, Value
from runtime.values.trace_context import packed, unpacked


def lines_of(spec: Function, attempt: Attempt) -> log_fields.about:
    """Around an attempt of which no spans are made: what its lines are about."""
    return log_fields.about(_told(spec, attempt))


@contextlib.contextmanager
def attempt_span(tracing: Tracing, spec: Function, attempt: Attempt, worker: str) -> Iterator[Attempt]:
    """The same where they are made: yields it with the trace of its own, which its children and followers inherit.

    How long it waited in its queue is a span of its own, beside it.
    """
    told = _told(spec, attempt)
    given = told["traceparent"] or ""
    _waited(tracing, spec, attempt, given)
    others = [one for parent in attempt.parents() if (one := unpacked(parent.get("trace") or "")) not in ("", given)]
    attributes = _attributes(spec, attempt, worker)
    spanned = tracing.span(spec.name, kind="consumer", parent=given or None, links=others, attributes=attributes)
    with spanned as span, log_fields.about({**told, "traceparent": span.traceparent}):
        yield below(attempt, span)


@contextlib.contextmanager
def member_spans(
    tracing: Tracing, spec: Function, carrier: Attempt, members: Sequence[Attempt]
) -> Iterator[list[Attempt]]:
    """Around the one call of a function for many: each of them has a span in its own trace, linked to the call's."""
    if not tracing.on:
        yield list(members)
        return
    with contextlib.ExitStack() as spans:
        found = []
        for member in members:
            trace = unpacked(member.text("trace"))
            _waited(tracing, spec, member, trace)
            span = spans.enter_context(
                tracing.span(
                    f"{spec.name} (gathered)",
                    kind="consumer",
                    parent=trace or None,
                    links=[unpacked(carrier.text("trace"))],
                    attributes=_attributes(spec, member, ""),
                )
            )
            found.append(below(member, span))
        yield found


def below(attempt: Attempt, span: Span) -> Attempt:
    """The attempt as those see it who come after it in the trace."""
    trace = packed(span.traceparent)
    return attempt if trace is None else replace(attempt, record={**attempt.record, b"trace": trace.encode()})


def _told(spec: Function, attempt: Attempt) -> dict[str, str | None]:
    return {
        "task_id": attempt.id,
        "function": spec.name,
        "tenant": attempt.text("tenant"),
        "attempt": str(attempt.number),
        "traceparent": unpacked(attempt.text("trace")) if b"trace" in attempt.record else None,
    }


def _waited(tracing: Tracing, spec: Function, attempt: Attempt, trace: str) -> None:
    record = attempt.record
    start, end = (int(record.get(name, 0)) * 1_000_000 for name in (b"queued", b"started"))
    if trace and 0 < start < end:
        told: Mapping[str, Value] = {"tundish.call.id": attempt.id, "messaging.destination.name": spec.queue}
        tracing.past(f"wait in {spec.queue}", start, end, parent=trace, attributes=told)


def _attributes(spec: Function, attempt: Attempt, worker: str) -> dict[str, Value]:
    told: Mapping[str, Value] = {
        "tundish.call.id": attempt.id,
        "tundish.function": spec.name,
        "tundish.attempt": attempt.number,
        "tundish.tenant": attempt.text("tenant"),
        "tundish.trigger": attempt.text("trigger"),
        "tundish.worker": worker,
        "messaging.system": "redis",
        "messaging.destination.name": spec.queue,
    }
    return {name: value for name, value in told.items() if value}
