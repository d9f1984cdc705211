"""What only the described functions can tell: handlers that do not load, arguments that do not fit, loops."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from runtime.checks.loops import loops
from runtime.config.yaml_lines import Path_, show
from runtime.deployment.deployment import UNMADE, Deployed, Deployment
from runtime.deployment.validate import validate
from runtime.errors import InvalidArguments, Problem

_PLACE = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/(?!/).*)?", re.DOTALL)


def check_deployment(deployment: Deployment, sources: Mapping[Path_, str]) -> list[Problem]:
    """Every problem between functions.yaml and the functions; `sources` gives the lines (config_load.Loaded)."""
    unloaded = [
        _problem(("functions", name, "handler"), deployed.error, sources)
        for name, deployed in deployment.functions.items()
        if deployed.error not in (None, UNMADE)
    ]
    return unloaded + misfits(deployment, sources)


def unseen(deployment: Deployment) -> list[str]:
    """The functions that could not be looked at, as their environment is not made yet."""
    return [name for name, deployed in deployment.functions.items() if deployed.error == UNMADE]


def misfits(deployment: Deployment, sources: Mapping[Path_, str]) -> list[Problem]:
    """The problems that no running system takes over. A handler that does not load is none: the others run."""
    settings = deployment.settings
    loaded = [(name, deployed) for name, deployed in deployment.functions.items() if not deployed.error]
    found = [told for name, deployed in loaded for told in _problems(name, deployed)]
    return [_problem(path, message, sources) for path, message in [*found, *loops(settings.project, settings.root)]]


def _problem(path: Path_, message: str, sources: Mapping[Path_, str]) -> Problem:
    source = next((sources[path[:end]] for end in range(len(path), 0, -1) if path[:end] in sources), "")
    file, _, line = source.partition(":")
    number = int(line.split(" ")[0]) if line else None
    return Problem(show(path), message, number, file or None)


def _problems(name: str, deployed: Deployed) -> Iterator[tuple[Path_, str]]:
    path: Path_ = ("functions", name)
    spec = deployed.spec
    for called, given in _calls(path, deployed):
        try:
            validate(deployed, given)
        except InvalidArguments as error:
            for field in error.errors:
                yield called, f"{spec.handler.rpartition(':')[2]} cannot be called so: {field.field}: {field.message}"
    for place in spec.writes:
        if not _PLACE.fullmatch(place):
            yield (*path, "writes"), f"{place!r} names no place; write BUCKET or BUCKET/PREFIX, like pictures/small/"
    for trigger in spec.buckets:
        if deployed.objects_parameter(trigger.arguments) is None:
            message = (
                "a function with a bucket trigger takes a parameter objects: list[ObjectEvent] (or, as on AWS Lambda, "
                f"event or Records); {spec.handler} has {', '.join(sorted(deployed.accepts)) or 'none'}"
            )
            yield (*path, "triggers"), message
        if trigger.index and not deployed.takes("index"):
            yield (*path, "triggers"), f"index: {trigger.index} is given, but {spec.handler} has no parameter index"


def _calls(path: Path_, deployed: Deployed) -> Iterator[tuple[Path_, dict[str, Any]]]:
    """The calls whose arguments are known before anything runs: schedules, and what buckets add."""
    for cron in deployed.spec.crons:
        yield (*path, "triggers"), dict(cron.arguments)
    for bucket in deployed.spec.buckets:
        arguments = dict(bucket.arguments)
        name = deployed.objects_parameter(arguments)
        if name is not None:
            arguments[name] = {"Records": []} if name == "event" else []
        if bucket.index and deployed.takes("index"):
            arguments["index"] = bucket.index
        yield (*path, "triggers"), arguments
