"""A model as the back ends get it, and where on this machine they keep what they make of it."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from runtime.embedding.tokens import Tokens
from runtime.errors import ServiceFailed
from runtime.models import folder as folders

log = logging.getLogger("tundish.models")

_SET = "XDG_CACHE_HOME names another folder."


@dataclass(frozen=True)
class Given:
    """A folder in the format of sentence-transformers. `weights`: their sha256; `longest`: tokens that it reads."""

    folder: Path
    weights: str
    longest: int

    @cached_property
    def tokens(self) -> Tokens:
        return Tokens(self.folder, self.longest)

    @cached_property
    def cache(self) -> Path:
        """A folder of this user for what belongs to this model. It can be deleted at any time. Raises ServiceFailed."""
        used = folders.settings_hash(self.folder)  # other pooling, other layers: another model of the same weights
        return cache_folder(os.environ) / f"{self.weights[:16]}-{used[:8]}-{self.longest}"


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Where converted models and measurements are kept: XDG_CACHE_HOME, or ~/.cache; else the temporary folder.

    Raises ServiceFailed where none of them can be written, or somebody else could write there.
    """
    said = environ.get("XDG_CACHE_HOME")
    wanted = Path(said) if said else Path(os.path.expanduser("~")) / ".cache"  # noqa: PTH111 - it never raises
    folder = wanted / "tundish" / "models"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    try:
        folder = Path(tempfile.gettempdir()) / f"tundish-models-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise ServiceFailed(f"There is no folder to keep models in ({error}). {_SET}") from error
    # Anybody can make a folder of this name there, and models in it: what is loaded from there must be our own.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise ServiceFailed(f"{folder} is not a folder that only this user can write. {_SET}")
    return folder


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process of this machine at a time; the lock ends with its holder. Raises ServiceFailed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("w")
    except OSError as error:
        raise ServiceFailed(f"{folder} cannot be written ({error.strerror}). Make room there. {_SET}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("waiting for another process, which is at work in %s", folder)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
