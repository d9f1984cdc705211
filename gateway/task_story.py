"""What is to be told of an invocation's states, to somebody who has heard a part of it. Pure: fields in, steps out.

Looks at a record see its newest state only. What must have come before it (accepted, queued, running) is told, too;
a state that was left again between two looks is not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runtime.invocations import CELERY_WORDS, TERMINAL

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
"""The fields of a record that a look reads: not its arguments and its result, which may be large."""


@dataclass(frozen=True, slots=True)
class Mark:
    """How much of the states somebody has heard: a state, the start (ms) of its attempt, and what tells two alike apart."""

    state: str
    started: int
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.state}.{self.started}.{self.detail}"


@dataclass(frozen=True, slots=True)
class Step:
    """A state that is to be told. `before` is the attempt whose output comes after it; None: it comes after all output."""

    mark: Mark
    told: Mapping[str, Any]
    before: int | None = None


def parse_mark(text: str) -> Mark | None:
    """The Mark that somebody sends back; None where there is none yet. Raises ValueError."""
    if not text:
        return None
    state, started, detail = text.split(".", 2)
    if state not in CELERY_WORDS:
        raise ValueError(state)
    return Mark(state, int(started), detail)


class Story:
    """One look at a record: its FIELDS as Redis answers them."""

    def __init__(self, task_id: str, values: Sequence[bytes | None]) -> None:
        self._id = task_id
        self._fields = {name: value.decode() for name, value in zip(FIELDS, values, strict=True) if value is not None}
        self.known = "state" in self._fields
        self.state = self._fields.get("state", "")
        self.terminal = self.state in TERMINAL
        self.source = self._fields.get("carrier") or task_id
        """Whose output it is: a gathered call puts out for all its members."""

    def after(self, heard: Mark | None) -> list[Step]:
        """The steps that come after what was heard."""
        *earlier, now = self._steps()
        heard_rank = -1 if heard is None else self._rank(heard)
        steps = [step for step in (*earlier, now) if self._rank(step.mark) > heard_rank]
        return steps or ([] if now.mark == heard else [now])

    def _steps(self) -> list[Step]:
        state, started = self.state, self._number("started")
        steps = []
        if state != "accepted" or started:
            steps.append(self._step("accepted", 0, self._number("created"), before=0))
        if started:
            steps.append(self._step("queued", 0, self._number("queued"), before=0))
            if state != "running":
                # A parent that waits for its children has not used up an attempt.
                number = max(1, self._number("attempts") + (state == "waiting"))
                steps.append(self._step("running", started, started, before=number, attempt=number))
        return [*steps, self._now(state, started)]

    def _now(self, state: str, started: int) -> Step:
        told: dict[str, Any] = {}
        at, detail, before = 0, "", None
        error = json.loads(self._fields["error"]) if "error" in self._fields else {}
        match state:
            case "accepted":
                at, detail, before = self._number("created"), self._fields.get("waits", ""), None if started else 0
                told = {"waits": detail or None, "due": self._seconds("due")}
            case "queued":
                at = self._number("queued")
                detail, before = str(at), None if started else 0
            case "running":
                at, before = started, self._number("attempts")
            case "retrying":
                told = {"error": error.get("summary"), "due": self._seconds("due")}
            case "waiting":
                told = {"waits": "children"}
            case _:
                at = self._number("ended")
                took = (at - started) / 1000 if started else None
                told = {"error": error.get("summary"), "error_type": error.get("type"), "duration_seconds": took}
                told |= {"reason": self._fields.get("stop")} if state == "cancelled" else {}
        return self._step(state, started, at, detail, before=before, **told)

    def _step(
        self, state: str, started: int, at: int, detail: str = "", *, before: int | None = None, **more: Any
    ) -> Step:
        told = {
            "task_id": self._id,
            "function": self._fields.get("function"),
            "state": state,
            "status": CELERY_WORDS[state],
            "at": at / 1000 if at else None,
            "attempt": self._number("attempts") if started else 0,
        }
        return Step(Mark(state, started, detail), told | more, before)

    def _rank(self, mark: Mark) -> int:
        """How far a mark is in the story of the newest attempt."""
        if mark.started and mark.started != self._number("started"):
            return 1
        if mark.started:
            return 2 if mark.state == "running" else 3
        return {"accepted": 0, "queued": 1}.get(mark.state, 3)

    def _number(self, name: str) -> int:
        return int(self._fields.get(name) or 0)

    def _seconds(self, name: str) -> float | None:
        return self._number(name) / 1000 or None
