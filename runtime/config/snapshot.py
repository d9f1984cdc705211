"""What a supervisor took over last, as one file: the project and the description of its functions belong together.

The processes of a running system read this instead of functions.yaml. So one that is started again runs what the
others run, whatever has been written into the YAML meanwhile and not been taken over. What is about to be taken over
lies beside it: workers that start read that one, everybody else reads it when it has its final name.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from runtime.config.settings import Project
from runtime.errors import HandlerError
from runtime.security.private_files import write_private


def prepare(path: Path, project: Project, functions: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the next snapshot beside `path`; readable by its owner alone, since `env` may hold anything."""
    content = {"project": project.model_dump(mode="json", by_alias=True), "functions": functions}
    following = _next(path)
    write_private(following, json.dumps(content))
    moment = max(following.stat().st_mtime_ns, version(path) + 1)  # a clock that was set back must not hide it
    os.utime(following, ns=(moment, moment))


def commit(path: Path) -> None:
    """Give the next snapshot its name."""
    _next(path).replace(path)


def discard(path: Path) -> None:
    """Forget the next snapshot, if there is one."""
    _next(path).unlink(missing_ok=True)


def newest(path: Path) -> Path:
    """The next snapshot where there is one, else the present one."""
    following = _next(path)
    return following if following.exists() else path


def version(path: Path | str) -> int:
    """Grows with every snapshot; 0 where there is none. Costs one stat, and little else where `path` is a text."""
    try:
        return os.stat(path).st_mtime_ns  # noqa: PTH116 - asked at every call
    except OSError:
        return 0


def read_project(path: Path) -> Project:
    """Raises HandlerError where there is none that can be read."""
    try:
        return Project.model_validate(_read(path)["project"])
    except (KeyError, ValidationError) as error:
        raise _unreadable(path, error) from error


def read_functions(path: Path) -> dict[str, dict[str, Any]]:
    """The descriptions by name. Raises HandlerError."""
    try:
        return dict(_read(path)["functions"])
    except (KeyError, TypeError, ValueError) as error:
        raise _unreadable(path, error) from error


def _next(path: Path) -> Path:
    return path.with_name(path.name + ".next")


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if not isinstance(found, dict):
        raise _unreadable(path, "it is not a mapping")
    return found


def _unreadable(path: Path, why: object) -> HandlerError:
    return HandlerError(f"the description {path} cannot be read: {why}")
