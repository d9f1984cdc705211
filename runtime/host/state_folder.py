"""Where the state folder is. Cheap to import: the commands that only talk to a running system need no more."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

DEFAULT_FILE = "functions.yaml"
DEFAULT_HOME = ".tundish"


def places(file: Path | None, home: Path | None, environ: Mapping[str, str]) -> tuple[Path, Path]:
    """functions.yaml and the state folder, absolute: flag, else environment, else beside each other here."""
    file = (file or Path(environ.get("TUNDISH_FILE") or DEFAULT_FILE)).absolute()
    return file, (home or Path(environ.get("TUNDISH_HOME") or file.parent / DEFAULT_HOME)).absolute()
