"""A schedule as it is told to people and programs: by the gateway, and by the command line where no system runs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from runtime.invocations import pause
from runtime.schedules.preview import Run, next_runs
from runtime.schedules.schedule import Schedule, tick_name
from runtime.schedules.state import ScheduleState
from runtime.values.units import format_duration


def told(schedule: Schedule, state: ScheduleState | None, paused: pause.Paused, now: datetime, count: int) -> Any:
    """Plain data of one schedule with its next `count` runs. `state` None: no system was asked."""
    trigger = schedule.trigger
    return {
        "name": schedule.name,
        "function": schedule.function,
        "expression": schedule.expression,
        "timezone": trigger.timezone,
        "overlap": trigger.overlap,
        "catch_up": format_duration(trigger.catch_up),
        "jitter": format_duration(trigger.jitter),
        "paused": _pause(schedule, paused),
        "last": _last(state) if state else None,
        "ticks": {name: getattr(state, name) for name in ("submitted", "skipped", "missed")} if state else None,
        "next": [_run(run) for run in next_runs(schedule, now, count)],
    }


def _pause(schedule: Schedule, paused: pause.Paused) -> Mapping[str, Any] | None:
    return next((paused["schedule", name] for name in schedule.names if ("schedule", name) in paused), None)


def _last(state: ScheduleState) -> dict[str, Any] | None:
    if state.tick is None:
        return None
    tick = datetime.fromtimestamp(state.tick, UTC)
    return {"tick": tick_name(tick), "invocation": state.task, "state": state.state, "lateness_seconds": state.late}


def _run(run: Run) -> dict[str, Any]:
    """`tick` is the name of the run, `at` the instant of its submission, `local` that in the schedule's zone."""
    at = run.at.replace(microsecond=run.at.microsecond // 1000 * 1000)
    return {
        "tick": tick_name(run.tick),
        "at": tick_name(at),
        "local": run.local.isoformat(timespec="seconds"),
        "note": run.note or None,
    }
