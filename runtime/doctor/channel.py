"""The time after which kombu's stock channel hands a message out again that nobody has acknowledged."""

from __future__ import annotations

import time
from typing import Any

from runtime.doctor.finding import Verdicts, ok, warn
from runtime.doctor.patient import Patient
from runtime.values.units import format_duration
from runtime.worker.app import NO_LIMIT_SECONDS, visibility_timeout

_UNACKED = "unacked_index"
"""Where kombu's stock channel keeps what is out: delivery tag → seconds since the epoch."""


def visibility(patient: Patient) -> Verdicts:
    """No call runs longer than it, and nothing lies unacknowledged beyond it."""
    project = patient.settings.project
    stock = {name for name, queue in project.queues.items() if queue.channel == "stock"}
    endless = [
        function.name for function in project.functions.values() if function.timeout is None and function.queue in stock
    ]
    seconds = visibility_timeout(project)
    for name in endless:
        yield warn(
            f"{name} has no timeout, and its queue has `channel: stock`: a message comes again "
            f"{format_duration(seconds)} after it was received, for calls of up to {format_duration(NO_LIMIT_SECONDS)}",
            f"Give {name} a timeout, or its queue `channel: lean`, which needs no such time.",
        )
    if patient.settings.broker_url and not patient.broker_trouble:
        late: Any = patient.broker.zcount(_UNACKED, "-inf", time.time() - seconds)
        if late:
            yield warn(
                f"{late} messages were received more than {format_duration(seconds)} ago on the stock channel, and "
                "neither acknowledged nor handed out again: no worker on that channel runs.",
                "Start that worker once more (or `celery -A runtime.celery_app worker -Q QUEUE`), which takes them.",
            )
            return
    if endless:
        return
    if stock:
        yield ok(f"{format_duration(seconds)} for {', '.join(sorted(stock))}, which covers the longest call")
    else:
        yield ok("not needed: every queue is on the lean channel")
