"""Functions that would call themselves for ever: each writes objects that a bucket trigger hands to the next."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from runtime.buckets.watch import Watch, watches
from runtime.checks import writes
from runtime.checks.writes import Write
from runtime.config.settings import Function, Project
from runtime.config.yaml_lines import Path_
from runtime.interfaces import ObjectInfo


@dataclass(frozen=True, slots=True)
class Step:
    """One function's work calls another one. `path` is the key of functions.yaml that says so, `how` a sentence."""

    path: Path_
    how: str


Steps = Mapping[str, Mapping[str, Step]]
_MEND = "Write to another bucket, or under a prefix that"


def loops(project: Project, root: Path) -> Iterator[tuple[Path_, str]]:
    """(path, message) of every loop that can be seen before anything runs; `root` is the folder of functions.yaml."""
    steps = {name: _steps(function, project, root) for name, function in project.functions.items()}
    for ring in _rings(steps):
        taken = [steps[name][after] for name, after in zip(ring, [*ring[1:], ring[0]], strict=True)]
        if len(ring) == 1:
            yield taken[0].path, f"calls itself for ever: {taken[0].how}. {_MEND} its trigger does not take."
        else:
            around = " → ".join([*ring, ring[0]])
            told = "; ".join(step.how for step in taken)
            yield taken[0].path, f"goes round in a circle, {around}: {told}. {_MEND} none of these triggers takes."


def _steps(function: Function, project: Project, root: Path) -> dict[str, Step]:
    """Whom the work of a function calls, once each."""
    path: Path_ = ("functions", function.name)
    found: dict[str, Step] = {}
    if function.on_success:
        target = function.on_success.function
        found[target] = Step((*path, "on_success"), f"{function.name} is followed by {target}")
    every = [*writes.declared(function), *writes.seen(function, root)]
    for watch in watches(project):
        write = next((one for one in every if _takes(watch, one)), None)
        if write is not None:
            place = (*path, "writes") if write.declared else (*path, "handler")
            found[watch.function.name] = Step(place, _told(function, write, watch))
    return found


def _told(function: Function, write: Write, watch: Watch) -> str:
    source = "" if write.declared else f" ({function.handler.rpartition(':')[0]}:{write.line})"
    trigger = f"{watch.trigger.bucket}/{watch.trigger.prefix}"
    return f"{function.name} writes to {write}{source}, and {watch.function.name} has a trigger on {trigger}"


def _takes(watch: Watch, write: Write) -> bool:
    """Whether a trigger hands out what was written. The size is not known, and may well be one that fits."""
    trigger = watch.trigger
    if write.bucket != trigger.bucket or "created" not in trigger.events:
        return False
    if write.declared:  # anything that begins so
        return write.key.startswith(trigger.prefix) or trigger.prefix.startswith(write.key)
    info = ObjectInfo(write.bucket, write.key, "", trigger.min_size or 0, 0.0, write.content_type)
    return watch.wants(write.key) and not watch.refuses(info)


def _rings(steps: Steps) -> Iterator[list[str]]:
    """The shortest circle through each function that is on one, each circle once, as names in order."""
    told: set[frozenset[str]] = set()
    for name in steps:
        ring = _way_back(name, steps)
        if ring and frozenset(ring) not in told:
            told.add(frozenset(ring))
            yield ring


def _way_back(name: str, steps: Steps) -> list[str]:
    """The shortest way from a function to itself, empty where there is none."""
    came_from: dict[str, str] = {}
    waiting = deque([name])
    while waiting:
        here = waiting.popleft()
        for target in steps.get(here, ()):
            if target == name:
                ring = [here]
                while ring[0] != name:
                    ring.insert(0, came_from[ring[0]])
                return ring
            if target not in came_from:
                came_from[target] = here
                waiting.append(target)
    return []
