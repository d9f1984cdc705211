"""Tasks as lines and tables for people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from runtime.cli.output import snippet
from runtime.cli.pace import pace

COLUMNS = ("task", "function", "state", "created", "seconds", "attempts", "queue", "what")
_CAME = ("function", "state", "queue", "priority", "trigger", "attempts", "lost")
_SHOWN = (*_CAME, "worker", "version", "root_id", "parent_id")
_MORE = ("origin_id", "callback_url", "traceparent", "tenant")
_TIMES = ("created", "due", "expires", "deadline", "started", "ended")


def row(task: Mapping[str, Any]) -> tuple[str, ...]:
    """A task for a table of COLUMNS."""
    seconds = task["duration_seconds"]
    return (
        task["task_id"],
        task["function"],
        _state(task),
        when(task["created"]),
        "" if seconds is None else f"{seconds:.3f}",
        str(task["attempts"]),
        task["queue"],
        snippet(task["error"] or task.get("reason") or _progress(task) or "", 80),
    )


def detail(task: Mapping[str, Any]) -> Iterator[str]:
    """Everything that is known about a task, line by line."""
    yield f"task {task['task_id']}"
    for name in (*_SHOWN, *_MORE):
        if task.get(name) not in (None, "", 0) or name == "attempts":
            yield f"  {name}: {_state(task) if name == 'state' else task[name]}"
    for name in _TIMES:
        if task.get(name) is not None:
            yield f"  {name}: {when(task[name])}"
    if task.get("duration_seconds") is not None:
        yield f"  seconds: {task['duration_seconds']:.3f}"
    if _progress(task):
        yield f"  progress: {_progress(task)}"
    if "arguments" in task:
        yield f"  arguments: {json.dumps(task['arguments'], ensure_ascii=False)}"
    if task.get("successful"):
        yield f"  result: {snippet(json.dumps(task['result'], ensure_ascii=False), 2000)}"
    if task.get("reason"):
        yield f"  reason: {task['reason']}"
    if task.get("error"):
        yield f"  error: {task['error']}"
    if task.get("traceback"):
        yield from (f"    {line}" for line in str(task["traceback"]).rstrip().splitlines())


def tree(tasks: Sequence[Mapping[str, Any]], top: str, *, depth: int = 1) -> Iterator[str]:
    """The descendants of a task, indented by generation, the oldest first."""
    for task in sorted(_children(tasks, top), key=lambda one: float(one["created"])):
        yield f"{'  ' * depth}{task['task_id']}  {task['function']}  {_state(task)}"
        yield from tree(tasks, task["task_id"], depth=depth + 1)


def when(moment: float) -> str:
    """Local time."""
    return datetime.fromtimestamp(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _children(tasks: Iterable[Mapping[str, Any]], parent: str) -> list[Mapping[str, Any]]:
    return [task for task in tasks if task["parent_id"] == parent and task["task_id"] != parent]


def _state(task: Mapping[str, Any]) -> str:
    if task.get("stopping"):
        return f"{task['state']} (being stopped)"
    return f"{task['state']} ({task['waits']})" if task.get("waits") else str(task["state"])


def _progress(task: Mapping[str, Any]) -> str:
    told = task.get("progress")
    if not isinstance(told, Mapping):
        return ""
    share = f"{told.get('done')}/{told.get('total')}" if told.get("total") else str(told.get("done", ""))
    return " ".join(part for part in (share, str(told.get("message") or ""), pace(told)) if part)
