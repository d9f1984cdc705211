"""What is to be told of an invocation's states, to somebody who has heard a part of it. Pure: a record in, steps out.

Looks at a record see its newest state only. What must have come before it (accepted, queued, running) is told, too;
a state that was left again between two looks is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from runtime.invocations.invocation import Invocation

FIELDS = (
    "state",
    "function",
    "attempts",
    "created",
    "queued",
    "started",
    "ended",
    "waits",
    "due",
    "error",
    "stop",
    "carrier",
)
"""The fields of a record that are needed here: not its arguments and its result, which may be large."""


@dataclass(frozen=True, slots=True)
class Mark:
    """How much of the states somebody has heard: a state, the start of its attempt (ms), and what tells alike apart."""

    state: str
    started: int
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.state}.{self.started}.{self.detail}"


@dataclass(frozen=True, slots=True)
class Step:
    """A state that is to be told. `before` is the attempt whose output comes after it; None is for after all output."""

    mark: Mark
    told: Mapping[str, Any]
    before: int | None = None


def steps_after(heard: Mark | None, record: Invocation) -> list[Step]:
    """The steps of a record that come after what was heard."""
    steps = _steps(record)
    reached = -1 if heard is None else _rank(heard, record)
    now = steps[-1]
    return [step for step in steps if _rank(step.mark, record) > reached] or ([] if now.mark == heard else [now])


def _steps(record: Invocation) -> list[Step]:
    """The story of a record as far as it must have been, its state now at the end."""
    steps = []
    if record.state != "accepted" or record.started:
        steps.append(_step(record, "accepted", {"at": record.created, "attempt": 0}, 0))
    if record.started:
        steps.append(_step(record, "queued", {"at": record.queued, "attempt": 0}, 0))
    if record.started and record.state != "running":
        # A parent that waits for its children has not used up its attempt.
        number = max(1, record.attempts + (record.state == "waiting"))
        steps.append(_step(record, "running", {"at": record.started, "attempt": number}, number))
    return [*steps, _now(record)]


def _now(record: Invocation) -> Step:
    state, error = record.state, record.error or {}
    first = None if record.started else 0
    if state == "accepted":
        return _step(record, state, {"at": record.created, "waits": record.waits, "due": record.due}, first)
    if state == "queued":
        return _step(record, state, {"at": record.queued}, first)
    if state == "running":
        return _step(record, state, {"at": record.started}, record.attempts)
    if state == "retrying":
        return _step(record, state, {"error": error.get("summary"), "due": record.due})
    if state == "waiting":
        return _step(record, state, {"waits": record.waits})
    told = {"error": error.get("summary"), "error_type": error.get("type"), "reason": record.stop}
    return _step(record, state, told | {"at": record.ended, "duration_seconds": record.seconds})


def _step(record: Invocation, state: str, more: Mapping[str, Any], before: int | None = None) -> Step:
    """`accepted` and `queued` belong to no attempt where they are the beginning: `before` is 0."""
    started = 0 if before == 0 else _ms(record.started)
    details = {"accepted": record.waits or "", "queued": str(_ms(record.queued))}
    told = {
        "task_id": record.id,
        "function": record.function,
        "state": state,
        "status": replace(record, state=state).celery_status,
        "attempt": record.attempts,
    }
    return Step(Mark(state, started, details.get(state, "")), {**told, **more}, before)


def _rank(mark: Mark, record: Invocation) -> int:
    """How far a mark is in the story of the newest attempt."""
    if mark.started and mark.started != _ms(record.started):
        return 1
    if mark.started:
        return 2 if mark.state == "running" else 3
    return {"accepted": 0, "queued": 1}.get(mark.state, 3)


def _ms(moment: float | None) -> int:
    return round(moment * 1000) if moment else 0
