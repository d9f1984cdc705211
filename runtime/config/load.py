"""functions.yaml and the environment → settings, or every error at once. Nothing else reads either.

Below a supervisor the project is what it took over last (runtime/config/snapshot.py), not what the file says by now.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.config import snapshot
from runtime.config.environ import Environment, connect
from runtime.config.logs import observed
from runtime.config.settings import Settings
from runtime.errors import ConfigError, Problem
from runtime.host.state_folder import places

if TYPE_CHECKING:
    from runtime.config.file import File
    from runtime.config.yaml_lines import Path_


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
    taken_over = environ.get("TUNDISH_DESCRIPTION")
    problems: list[Problem] = []
    written = None if taken_over else _file(file, environ, problems)
    sources: dict[Path_, str] = {}
    running = _running(home, environ)
    reader = Environment({**running, **environ}, problems, sources)
    connections = connect(reader)
    flags = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    values = {**reader.overrides(), **flags}
    reader.get("TUNDISH_FILE", path=("file",))
    reader.get("TUNDISH_HOME", path=("home",))
    sources.update({(name,): f"--{name}" for name in flags})
    project = snapshot.read_project(Path(taken_over)) if taken_over else None
    if written is not None:
        project = written.project(reader, connections["store"].bucket, sources)
    values = {**observed(reader.get, reader.problem, project), **values}
    if problems or project is None:
        raise ConfigError(sorted(problems, key=lambda problem: (problem.line or 0, problem.path)))
    told = {path: f"run.json ({name})" if name in running else name for path, name in sources.items()}
    return Loaded(Settings(project=project, file=file, home=home, **connections, **values), told)


def _file(path: Path, environ: Mapping[str, str], problems: list[Problem]) -> File:
    """Imported here: what checks a file is large, and the processes of a running system read none."""
    from runtime.config.file import File

    return File(path, environ, problems)


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
