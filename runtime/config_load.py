"""functions.yaml and the environment → settings, or every error at once. Nothing else reads either."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from runtime import yaml_lines
from runtime.config import Settings
from runtime.config_check import check, nearest
from runtime.config_environ import Environment, connect
from runtime.config_resolve import Resolver
from runtime.errors import ConfigError, Problem
from runtime.schema import FunctionsFile, keys_at
from runtime.state_folder import places
from runtime.yaml_lines import Path_, Yaml, show

_MAPPING = "must be a mapping (key: value), found {found}"
_LIST = "must be a list like [a, b], found {found}"
_HARMLESS: Mapping[str | int, Any] = {
    "version": 1,
    "functions": {},
    "handler": "missing.py:missing",
    "function": "",
    "http": {},
    "cron": "@hourly",
    "every": 1,
    "bucket": "missing",
}
"""Stands for what is wrong or missing while the rest is checked."""


@dataclass(slots=True)
class Loaded:
    """Settings with the source of every value that is not a default: `functions.yaml:12`, `CELERY_LOG_LEVEL`."""

    settings: Settings
    sources: dict[Path_, str] = field(default_factory=dict)


def load_settings(
    environ: Mapping[str, str],
    *,
    file: Path | None = None,
    home: Path | None = None,
    host: str | None = None,
    port: int | None = None,
) -> Settings:
    """Settings by the precedence flag > environment > YAML > default. Raises ConfigError with every problem."""
    return load(environ, file=file, home=home, host=host, port=port).settings


def load(
    environ: Mapping[str, str],
    *,
    file: Path | None = None,
    home: Path | None = None,
    host: str | None = None,
    port: int | None = None,
) -> Loaded:
    """`load_settings` with the sources. Raises ConfigError."""
    file, home = places(file, home, environ)
    text = yaml_lines.read(file, environ)
    problems = list(text.problems)
    content = _validate(text, file, problems) if text.lines or not problems else None
    sources: dict[Path_, str] = {}
    running = _running(home, environ)
    reader = Environment({**running, **environ}, problems, sources)
    connections = connect(reader)
    flags = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    values = {**reader.overrides(), **flags}
    reader.get("TUNDISH_FILE", path=("file",))
    reader.get("TUNDISH_HOME", path=("home",))
    sources.update({(name,): f"--{name}" for name in flags})
    project = None
    if content is not None:
        bucket = connections["store"].bucket

        reported = {problem.path for problem in problems}

        def report(path: Path_, message: str) -> None:
            if show(path) not in reported:
                problems.append(Problem(show(path), message, text.line(path), file.name))

        queues = {name: reader.queue(name, queue) for name, queue in content.queues.items()}
        content = content.model_copy(update={"queues": queues})
        check(content, file.parent, bucket, report)
        if all(problem.file == "environment" for problem in problems):
            project = Resolver(content, text, file, reader, sources).project()
    if problems or project is None:
        raise ConfigError(sorted(problems, key=lambda problem: (problem.line or 0, problem.path)))
    told = {path: f"run.json ({name})" if name in running else name for path, name in sources.items()}
    return Loaded(Settings(project=project, file=file, home=home, **connections, **values), told)


def _running(home: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """What a running `tundish up` has left for other processes, of all that the environment does not name itself."""
    try:
        found = json.loads((home / "run.json").read_text())["environ"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    own = {"CELERY": ("CELERY_BROKER_URL", "REDIS_URL"), "MINIO": ("MINIO_ENDPOINT",)}
    # Address and keys belong together: those of another server are of no use.
    taken = tuple(prefix for prefix, names in own.items() if any(environ.get(name) for name in names))
    return {
        str(key): str(value) for key, value in found.items() if not str(key).startswith(taken) and key not in environ
    }


def _validate(text: Yaml, file: Path, problems: list[Problem]) -> FunctionsFile | None:
    """The content, with what is wrong reported and left out, so that the rest is checked in the same run."""
    if not isinstance(text.data, dict):
        found = "is empty" if text.data is None else "is not a mapping"
        problems.append(Problem("", f"the file {found}; it begins with version: 1 and functions:", 1, file.name))
        return None
    data = copy.deepcopy(text.data)
    for _ in range(100):  # leaving something out can uncover something else, at most once a level
        try:
            return FunctionsFile.model_validate(data)
        except ValidationError as error:
            details = [(detail, _plain_path(detail["loc"], data)) for detail in error.errors(include_url=False)]
            for detail, path in details:
                problem = Problem(show(path), _message(detail, path, data), text.line(path), file.name)
                if problem.path not in {known.path for known in problems}:
                    problems.append(problem)
            for detail, path in details:
                _leave_out(data, path, detail["type"])
    return None


def _leave_out(data: Any, path: Path_, kind: str) -> None:
    parent = _at(data, path[:-1])
    if len(path) == 4 and path[2] == "triggers":
        parent[path[3]] = {"http": {}}
    elif len(path) == 5 and path[2] == "triggers" and path[4] in _HARMLESS:  # without it, it would be no trigger
        parent[path[4]] = _HARMLESS[path[4]]
    elif isinstance(parent, list):
        _leave_out(data, path[:-1], kind="")
    elif isinstance(parent, dict) and kind == "missing":  # the checks skip what is reported already
        parent[path[-1]] = _HARMLESS.get(path[-1], "missing")
    elif isinstance(parent, dict):
        parent.pop(path[-1], None)


def _plain_path(location: tuple[int | str, ...], data: Any) -> Path_:
    """Pydantic's location without the tags and branches that are not keys of the file."""
    path: Path_ = ()
    here = data
    for position, part in enumerate(location):
        if len(path) == 4 and path[2] == "triggers" and location[position - 1] == path[3]:
            continue  # the tag of a trigger
        known = isinstance(here, dict) and part in here
        known = known or (isinstance(here, list) and isinstance(part, int) and part < len(here))
        if known:
            here = here[part]
        elif part == "[key]" or not isinstance(here, dict) or position < len(location) - 1:
            continue
        path = (*path, part)
    return path


def _at(data: Any, path: Path_) -> Any:
    for part in path:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _message(detail: Any, path: Path_, data: Any) -> str:
    kind, found = detail["type"], detail.get("input")
    if kind == "extra_forbidden":
        return f"unknown key{nearest(str(path[-1]), keys_at(path[:-1], _at(data, path[:-1])))}"
    plain = {"missing": "is missing", "model_type": _MAPPING, "dict_type": _MAPPING, "value_error": "{error}"}
    plain |= {"list_type": _LIST, "tuple_type": _LIST}
    if kind in plain:
        return plain[kind].format(found=repr(found)[:60], **detail.get("ctx", {}))
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        keys = ", ".join(found) if isinstance(found, dict) else repr(found)
        near = (
            nearest(str(next(iter(found), "")), ("http", "cron", "every", "bucket")) if isinstance(found, dict) else ""
        )
        return f"a trigger has exactly one of http, cron, every, bucket; found {keys}{near}"
    if kind == "string_pattern_mismatch":
        return f"{found!r:.120} is not allowed here; it must match {detail['ctx']['pattern']}"
    text = detail["msg"].removeprefix("Input should be ")
    return f"must be {text}, found {found!r:.60}" if text != detail["msg"] else f"{detail['msg']}, found {found!r:.60}"
