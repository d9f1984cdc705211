"""What only the described functions can tell: handlers that do not load, arguments that do not fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from runtime.deployment import Deployed, Deployment
from runtime.errors import InvalidArguments, Problem
from runtime.validate import validate
from runtime.yaml_lines import Path_, show


def check_deployment(deployment: Deployment, sources: Mapping[Path_, str]) -> list[Problem]:
    """Every problem between functions.yaml and the functions; `sources` gives the lines (config_load.Loaded)."""
    problems = []
    for name, deployed in deployment.functions.items():
        for path, message in _problems(name, deployed):
            source = next((sources[path[:end]] for end in range(len(path), 0, -1) if path[:end] in sources), "")
            file, _, line = source.partition(":")
            number = int(line.split(" ")[0]) if line else None
            problems.append(Problem(show(path), message, number, file or None))
    return problems


def _problems(name: str, deployed: Deployed) -> Iterator[tuple[Path_, str]]:
    path: Path_ = ("functions", name)
    spec = deployed.spec
    if deployed.error:
        yield (*path, "handler"), deployed.error
        return
    for place, given in _calls(path, deployed):
        try:
            validate(deployed, given)
        except InvalidArguments as error:
            for field in error.errors:
                yield place, f"{spec.handler.rpartition(':')[2]} cannot be called so: {field.field}: {field.message}"
    for trigger in spec.buckets:
        if not deployed.takes("objects"):
            message = "a function with a bucket trigger takes a parameter objects: list[ObjectEvent]"
            yield (*path, "triggers"), f"{message}; {spec.handler} has {', '.join(sorted(deployed.accepts)) or 'none'}"
        if trigger.index and not deployed.takes("index"):
            yield (*path, "triggers"), f"index: {trigger.index} is given, but {spec.handler} has no parameter index"


def _calls(path: Path_, deployed: Deployed) -> Iterator[tuple[Path_, dict[str, Any]]]:
    """The calls whose arguments are known before anything runs: schedules, and what buckets add."""
    for cron in deployed.spec.crons:
        yield (*path, "triggers"), dict(cron.arguments)
    for bucket in deployed.spec.buckets:
        known = {"objects": [], **({"index": bucket.index} if bucket.index else {})}
        accepted = {key: value for key, value in known.items() if deployed.takes(key)}
        yield (*path, "triggers"), {**accepted, **bucket.arguments}
