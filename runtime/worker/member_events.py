"""What Celery's monitors hear of the members of a gathered call: no message of theirs reaches a worker.

Their carrier is the task that a worker receives. While somebody listens, that worker tells of each member, too, under
the member's own id, by what the carrier's record and those of the members say.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import redis

from runtime import keys
from runtime.attempts.gather import MEMBERS

_BEGINS = "task-started"
_ENDS = frozenset({"task-succeeded", "task-failed", "task-retried", "task-revoked", "task-rejected"})
_EVENTS = {
    "succeeded": "task-succeeded",
    "retrying": "task-retried",
    "cancelled": "task-revoked",
    **dict.fromkeys(("failed", "dead", "expired"), "task-failed"),
}
"""By the state of a member; in any other one it is on its way again, alone."""

Send = Callable[..., object]
log = logging.getLogger("tundish.task")


class MemberEvents:
    """One per worker. `put` runs what it is given in a thread that may wait for the broker, one after the other."""

    def __init__(self, client: redis.Redis, put: Callable[[Callable[[], None]], None]) -> None:
        self._client, self._put = client, put
        self._members: dict[str, list[str]] = {}

    def hear(self, event: str, name: str, carrier: str, send: Send) -> None:
        """The carrier's own event was sent."""
        if event == _BEGINS:
            self._put(lambda: self._tell(self._began, name, carrier, send))
        elif event in _ENDS:
            self._put(lambda: self._tell(self._ended, name, carrier, send))

    def _tell(self, step: Callable[[str, str, Send], None], name: str, carrier: str, send: Send) -> None:
        try:
            step(name, carrier, send)
        except Exception as error:  # noqa: BLE001 - a monitor that misses something must not stop the errands
            log.debug("%s[%s] its members are not told to monitors: %s", name, carrier, error)

    def _began(self, name: str, carrier: str, send: Send) -> None:
        found: bytes | None = self._client.hget(keys.invocation(carrier), MEMBERS.decode())  # type: ignore[assignment]
        if not found:
            return  # a call that goes alone
        self._members[carrier] = found.decode().split("\n")
        for task_id in self._members[carrier]:
            whose = {"uuid": task_id, "root_id": task_id, "parent_id": carrier}
            send("task-received", name=name, args="", kwargs="", retries=0, eta=None, expires=None, **whose)
            send("task-started", uuid=task_id)

    def _ended(self, name: str, carrier: str, send: Send) -> None:
        for task_id in self._members.pop(carrier, ()):
            found: Any = self._client.hmget(keys.invocation(task_id), "state", "error")
            state, error = found
            if event := _EVENTS.get((state or b"").decode()):
                send(event, uuid=task_id, **_about(event, error))


def _about(event: str, error: bytes | None) -> dict[str, Any]:
    """What Celery says with such an event."""
    if event == "task-succeeded":
        return {"result": "", "runtime": 0.0}
    if event == "task-revoked":
        return {"terminated": False, "signum": None, "expired": False}
    return {"exception": json.loads(error)["summary"] if error else "", "traceback": ""}
