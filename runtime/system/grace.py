"""The time that a part has to stop: how it is shared between what runs, what is handed back, and who waits.

`grace` of functions.yaml is how long running calls may go on. Whoever manages the processes (systemd, a container
engine) should wait a little longer before it kills: `until_killed`.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtime.config.settings import Project

TIME_IS_OVER = signal.SIGUSR2
"""What a worker hears of the process that looks after it when the grace is over."""

RETIRE = signal.SIGUSR2
"""What that process hears when another worker has taken its place: to stop, in all the time that it needs."""

HAND_BACK_SECONDS = 8.0
"""What handing back may take beyond the grace: functions are interrupted, and killed after five seconds."""

_ANSWER_SECONDS = 7.0
_LEAST_SECONDS = 3.0


def of_queue(project: Project, queue: str) -> float:
    """How long calls of a queue may go on, in seconds."""
    found = project.queues[queue].grace if queue in project.queues else None
    return project.grace if found is None else found


def until_killed(grace: float) -> float:
    """Seconds after which a part that was told to stop is taken for one that hangs."""
    return grace + HAND_BACK_SECONDS + 2.0


def callers_wait(grace: float) -> float:
    """Seconds that callers may still wait at a gateway that is to stop: it has to be gone within the grace."""
    return max(_LEAST_SECONDS, grace - _ANSWER_SECONDS)
