"""A message that another Celery program has sent gets its record when it is received, or when it runs at the latest."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import redis

from runtime.attempts.invoker import Invoker
from runtime.broker import scripts
from runtime.config.settings import Function
from runtime.deployment.deployment import Deployment
from runtime.invocations.message import HEADER
from runtime.invocations.submit import Call, prepare
from runtime.telemetry import log_fields


def ours(request: Any) -> bool:
    """Whether Tundish has sent it."""
    headers = getattr(request, "headers", None) or {}
    return HEADER in headers or getattr(request, HEADER, None) is not None


def record(
    client: redis.Redis,
    deployment: Deployment,
    invoker: Invoker,
    spec: Function,
    request: Any,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> None:
    """Write the record of a call that `request` (Celery's) says everything about. Raises InvalidArguments."""
    arguments = dict(kwargs)
    if args:
        arguments = invoker.handler(spec)[1].bind(args, kwargs)
    trace = log_fields.valid_trace((getattr(request, "headers", None) or {}).get("traceparent"))
    ids = {"id": request.id, "root": request.root_id, "parent": request.parent_id}
    call = Call(spec.name, arguments, trigger="celery", trace=trace, **ids)
    prepared = prepare(deployment, call, time.time_ns() // 1_000_000)
    # Only the record: the message is here already.
    scripts.run(client, "record", (), [*prepared.arguments, "foreign", 1])
