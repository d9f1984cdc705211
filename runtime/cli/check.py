"""`tundish check`: functions.yaml and the environment, every problem at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from runtime.values.requirements import shown

_SECRET = frozenset(
    {"broker_url", "result_backend", "access_key", "secret_key", "event_token", "callback_secret", "api_key"}
)


@click.command()
@click.option("-f", "--file", type=click.Path(path_type=Path), help="functions.yaml (default: the one here).")
@click.option("--effective", is_flag=True, help="Print every value and where it comes from.")
@click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")
@click.pass_obj
def check(environ: Mapping[str, str], file: Path | None, effective: bool, as_json: bool) -> None:
    """Check functions.yaml, the environment, and that every function can be loaded. Exit code 1: there are problems.

    It installs nothing: functions whose environment is not made yet are named and not looked at.
    """
    from runtime.checks.deployment_check import check_deployment, unseen
    from runtime.cli.output import print_json
    from runtime.config.load import load
    from runtime.deployment.deployment import UNMADE, build_deployment, describe_project
    from runtime.errors import ConfigError

    try:
        loaded = load(environ, file=file)
    except ConfigError as error:
        if not as_json:
            raise
        print_json({"problems": [_plain(problem) for problem in error.problems], "unchecked": []})
        raise SystemExit(1) from error
    deployment = build_deployment(loaded.settings, describe_project(loaded.settings, environ, make=False))
    later = [{"name": name, "reason": UNMADE} for name in unseen(deployment)]
    problems = check_deployment(deployment, loaded.sources)
    values = [
        (".".join(map(str, path)), value, loaded.sources.get(path, "default"))
        for path, value in _flat((), _shown(loaded.settings))
    ]
    if as_json:
        told: dict[str, Any] = {"problems": [_plain(found) for found in problems], "unchecked": later}
        if effective:
            told["values"] = {path: {"value": value, "source": source} for path, value, source in values}
        print_json(told)
    else:
        if effective:
            for path, value, source in values:
                click.echo(f"{path} = {value}  ({source})")
        for found in problems:
            click.echo(str(found), err=True)
        for one in later:
            click.echo(f"{one['name']} was not looked at: {one['reason']}; `tundish up` makes it", err=True)
        if not problems and not effective:
            count = len(loaded.settings.project.functions)
            click.echo(f"{loaded.settings.file}: {count} functions, no problems")
    if problems:
        raise SystemExit(1)


def _shown(settings: Any) -> dict[str, Any]:
    """Settings as plain data: the project's keys as functions.yaml has them, secrets hidden."""
    plain: dict[str, Any] = settings.model_dump(mode="json", by_alias=True)
    for function in plain["project"]["functions"].values():
        del function["name"]  # it is the key
    return {**plain.pop("project"), **plain}


def _flat(path: tuple[Any, ...], value: Any) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if isinstance(value, dict) and value:
        for key, below in value.items():
            yield from _flat((*path, key), below)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for position, below in enumerate(value):
            yield from _flat((*path, position), below)
    else:
        yield path, _open(path, value)


def _open(path: tuple[Any, ...], value: Any) -> Any:
    if path[-1] in _SECRET and value:
        return "(hidden)"
    return [shown(one) for one in value] if path[-1] == "requirements" else value


def _plain(problem: Any) -> dict[str, Any]:
    return {"path": problem.path, "message": problem.message, "line": problem.line, "file": problem.file}
