"""Messages of other Celery programs: what they ask for, and the record that they get. Protocols 1 and 2."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any

from kombu.exceptions import KombuError
from kombu.message import Message
from kombu.serialization import prepare_accept_content
from kombu.utils.json import dumps

from runtime import keys
from runtime.broker.scripts import Argument
from runtime.deployment.deployment import Deployment
from runtime.invocations.message import BUILT, HEADER
from runtime.invocations.submit import Call, prepare
from runtime.telemetry.log_fields import valid_trace
from runtime.values.trace_context import Trace, state_of

ACCEPTED = ("msgpack", "json")
"""Serializers that are read. Never pickle."""

_SOON_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Foreign:
    """A call as another program sent it. Times are seconds since the epoch; `priority` is ours (9 first)."""

    id: str
    function: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    root: str | None
    parent: str | None
    eta: float | None
    expires: float | None
    priority: int
    raw: str | bytes
    """The message itself, where it can be delivered again with another time."""
    trace: str | None = None
    """The traceparent that a sender with OpenTelemetry has put among the headers."""

    def delay(self, now: float) -> float:
        """Seconds until it may start; 0 where it may."""
        left = 0.0 if self.eta is None else self.eta - now
        return left if left > _SOON_SECONDS else 0.0


def read(payload: Mapping[str, Any]) -> Foreign | None:
    """The call in a message; None for one of ours, and for what only Celery can judge (and will refuse)."""
    headers = payload["headers"]
    if HEADER in headers:
        return None
    try:
        content = _content(payload)
        told = headers if "task" in headers else content
        args, kwargs = (content["args"], content["kwargs"]) if told is content else content[:2]
        return Foreign(
            id=str(told["id"]),
            function=str(told["task"]),
            args=tuple(map(_plain, args)),
            kwargs={str(name): _plain(value) for name, value in kwargs.items()},
            root=told.get("root_id"),
            parent=told.get("parent_id"),
            eta=_moment(told.get("eta")),
            expires=_moment(told.get("expires")),
            priority=_priority(payload["properties"].get("priority")),
            raw=text(payload) if told is headers else BUILT,
            trace=_trace(told),
        )
    except (KombuError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def text(payload: Mapping[str, Any]) -> str:
    """A message as it lies in a list."""
    result: str = dumps(payload)
    return result


def record(deployment: Deployment, found: Foreign, now: float) -> list[Argument]:
    """The arguments of record.lua; `now` is in seconds since the epoch.

    Raises FunctionNotFound, and OverflowError for a number that no record holds.
    """
    delay = found.delay(now)
    names = list(deployment.find(found.function).schema.get("properties", {}))
    call = Call(
        found.function,
        {**dict(zip(names, found.args, strict=False)), **found.kwargs},
        trigger="celery",
        id=found.id,
        priority=found.priority,
        root=found.root,
        parent=found.parent,
        delay=delay,
        expires=None if found.expires is None else found.expires - now - delay,
        trace=found.trace,
    )
    return [*prepare(deployment, call, int(now * 1000)).arguments, "foreign", found.raw]


def _trace(told: Mapping[str, Any]) -> str | None:
    found, state = valid_trace(told.get("traceparent")), told.get("tracestate")
    return Trace(found, state_of([state] if isinstance(state, str) else [])) if found else None


def _content(payload: Mapping[str, Any]) -> Any:
    body = payload["body"]
    encoded = payload["properties"].get("body_encoding") == "base64"
    message = Message(
        base64.b64decode(body) if encoded else body.encode(),
        content_type=payload["content-type"],
        content_encoding=payload["content-encoding"],
        headers=payload["headers"],
        accept=prepare_accept_content(ACCEPTED),
    )
    return message.decode()


def _plain(value: Any) -> Any:
    """A value as a record can hold it: what only Celery's serializers know (times, UUIDs, decimals) becomes text, which
    the function's type hints read again."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, str | bytes | int | float):
        return value
    return value.isoformat() if isinstance(value, date | time) else str(value)


def _moment(value: str | datetime | None) -> float | None:
    if value is None:
        return None
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _priority(step: Any) -> int:
    """Redis transports serve 0 first, we serve 9 first; it stays in the order that its sender meant."""
    return keys.transport_priority(min(9, max(0, int(step or 0))))
