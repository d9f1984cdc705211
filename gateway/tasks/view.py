"""An invocation as the task API shows it: Celery's words beside ours. Times are seconds since the epoch."""

from __future__ import annotations

from typing import Any

from pydantic_core import to_json

from runtime.invocations.invocation import Invocation


def describe(record: Invocation, *, traceback: bool = False) -> dict[str, Any]:
    """Everything but arguments and result."""
    told = short(record) | {
        "tenant": record.tenant,
        "queued": record.queued,
        "expires": record.expires,
        "deadline": record.deadline,
        "callback_url": record.callback,
        "traceparent": record.trace,
        "lost": record.lost,
        "version": record.version,
        "items": record.items,
        "result_type": record.result_type,
    }
    if traceback and record.error:
        told["traceback"] = record.error.get("traceback")
    return told


def short(record: Invocation) -> dict[str, Any]:
    """One line of a list."""
    error = record.error
    return {
        "task_id": record.id,
        "status": record.celery_status,
        "ready": record.terminal,
        "successful": record.state == "succeeded",
        "error": f"{error.get('type')}: {error.get('message')}" if error else None,
        "error_type": error.get("type") if error else None,
        "function": record.function,
        "state": record.state,
        "waits": record.waits,
        "stopping": record.stop is not None and not record.terminal,
        "reason": record.stop,
        "progress": record.progress,
        "queue": record.queue,
        "priority": record.priority,
        "trigger": record.trigger,
        "attempts": record.attempts,
        "created": record.created,
        "due": record.due,
        "started": record.started,
        "ended": record.ended,
        "duration_seconds": record.seconds,
        "worker": record.worker,
        "root_id": record.root,
        "parent_id": record.parent,
        "origin_id": record.origin,
    }


def brief(record: Invocation) -> dict[str, Any]:
    """How far it is."""
    names = ("task_id", "status", "ready", "successful", "error", "function", "state", "waits", "progress", "attempts")
    told = short(record)
    return {name: told[name] for name in names}


def embed(told: dict[str, Any], result_json: bytes | None) -> bytes:
    """The description with the result's own bytes in it: read and written again, numbers could change."""
    # Arguments that were uploaded are bytes.
    return b'%s,"result":%s}' % (to_json(told, bytes_mode="base64")[:-1], result_json or b"null")
