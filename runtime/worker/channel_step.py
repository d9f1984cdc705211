"""Where the lean channel meets Celery's worker: its receiver, and what a worker gives back when it stops."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from celery.bootsteps import CLOSE, StartStopStep
from celery.worker.consumer.tasks import Tasks
from kombu.common import ignore_errors


class Receiving(StartStopStep):  # type: ignore[misc]
    """A step of Celery's consumer: runs at every (re)connection, and first of all when the worker stops."""

    requires = (Tasks,)

    def start(self, c: Any) -> None:
        receiver, channel = c.app.tundish_receiver, c.task_consumer.channel
        channel.receiver, channel.ahead = receiver, c.prefetch_multiplier
        receiver.open(channel)
        if send := getattr(c.pool, "send_ahead", None):
            receiver.send_ahead = partial(send, c)
        c.call_soon_ack = _at_once
        endings = getattr(c.app, "tundish_endings", None)
        if endings is not None and c.hub is not None:
            endings.open(c.hub)

    def stop(self, c: Any) -> None:
        """What runs is finished; what waits behind it is for other workers, at once."""
        if c.blueprint.state != CLOSE:
            return
        if c.task_consumer:
            ignore_errors(c, c.task_consumer.cancel)
            ignore_errors(c, c.task_consumer.channel.give_back)
        if endings := getattr(c.app, "tundish_endings", None):
            endings.close()


def _at_once(acknowledge: Callable[..., Any], *arguments: Any, **options: Any) -> None:
    """Not at the event loop's next turn: it is a note in memory, and a stopping worker's loop does not turn again."""
    acknowledge(*arguments, **options)
