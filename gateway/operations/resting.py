"""What rests, shown where functions are listed: the function itself, and each of its schedules and bucket triggers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from runtime.buckets.watch import watches
from runtime.config.settings import Project
from runtime.invocations import pause
from runtime.schedules import schedule as schedules


def mark(told: Sequence[dict[str, Any]], project: Project, paused: pause.Paused) -> Sequence[dict[str, Any]]:
    """Give functions, as `/functions` tells them, their `paused`, and their cron and bucket triggers (in the order
    of functions.yaml) the `name` that they are paused by, and theirs."""
    named: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for schedule in schedules.schedules(project):
        named[schedule.function].append(_word("schedule", schedule.names, paused))
    for watch in watches(project):
        named[watch.function.name].append(_word("trigger", watch.names, paused))
    for function in told:
        function["paused"] = paused.get(("function", function["name"]))
        own = (trigger for trigger in function["triggers"] if "http" not in trigger)
        for trigger, word in zip(own, named[function["name"]], strict=True):
            trigger.update(word)
    return told


def _word(kind: str, names: Sequence[str], paused: pause.Paused) -> dict[str, Any]:
    flags = (paused[kind, name] for name in names if (kind, name) in paused)
    return {"name": names[0], "paused": next(flags, None)}
