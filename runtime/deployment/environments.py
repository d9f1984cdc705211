"""Python environments for functions with `requirements`: one for each set of them, in the state folder.

`envs/HASH` is a venv that has what the functions ask for, and finds Tundish's own packages behind that. It counts as
made when its label is there, which is written last; an environment without one is made anew.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import sys
import sysconfig
import time
from collections.abc import Callable, Collection, Iterator
from hashlib import sha256
from importlib import metadata
from pathlib import Path

from runtime.config.settings import Settings
from runtime.errors import EnvironmentFailed
from runtime.security.private_files import private_folder, write_private
from runtime.values.requirements import in_order, is_file, shown

FOLDER, LABEL = "envs", "tundish.json"
KEPT_SECONDS = 7 * 86400.0
"""How long an environment stays that nothing asks for any more, and in which nothing runs."""
AGAIN_SECONDS = 60.0
"""How long a failure counts: who saves a file meanwhile need not wait for pip to fail once more."""

Say = Callable[[str], None]


def prepare_all(settings: Settings, say: Say) -> dict[str, str]:
    """Make every environment that the project asks for; the queues whose environment cannot be made, and why."""
    failed: dict[str, str] = {}
    for name, queue in settings.project.queues.items():
        if queue.requirements:
            try:
                prepare(settings, queue.requirements, say)
            except EnvironmentFailed as error:
                failed[name] = str(error)
    return failed


def unmade(settings: Settings) -> dict[str, str]:
    """The queues whose environment is not there, with the reason of its failure, '' where nobody has tried yet.

    It only looks.
    """
    found: dict[str, str] = {}
    for name, queue in settings.project.queues.items():
        if queue.requirements:
            try:
                folder = _folder(settings, queue.requirements)
                if not _made(folder):
                    found[name] = ""
                    with contextlib.suppress(OSError):
                        found[name] = folder.with_suffix(".failed").read_text()
            except EnvironmentFailed as error:
                found[name] = str(error)
    return found


def sweep(settings: Settings) -> None:
    """Remove what the project does not ask for and nothing has used in a week: environments, and traces of failures."""
    wanted = set()
    for queue in settings.project.queues.values():
        with contextlib.suppress(EnvironmentFailed):
            wanted.add(_folder(settings, queue.requirements))
    for folder in {path.with_suffix("") for path in (settings.home.absolute() / FOLDER).glob("*")}:
        # What is being made, or cannot be removed now, can be removed another time.
        with contextlib.suppress(OSError), _locked(folder, wait=False):
            label, failure = folder / LABEL, folder.with_suffix(".failed")
            if folder not in wanted and _old(label if label.exists() else folder):
                label.unlink(missing_ok=True)
                shutil.rmtree(folder)
            if _old(failure):
                failure.unlink()
            if not folder.exists() and not failure.exists():
                folder.with_suffix(".lock").unlink()


def mark_used() -> None:
    """Say that something runs in the environment of this process, if it has one: it is not swept then."""
    with contextlib.suppress(OSError):
        os.utime(Path(sys.prefix) / LABEL)


def prepare(settings: Settings, requirements: Collection[str], say: Say) -> Path:
    """The interpreter of the environment that has these; made now where it is not there yet. Raises EnvironmentFailed.

    Takes as long as pip does. Several processes may ask at once: one of them makes it, the others wait.
    """
    from runtime.deployment.environment_build import build

    folder = _folder(settings, requirements)
    private_folder(folder.parent)
    with _locked(folder) as lock:
        if not _made(folder):
            names, began = shown(", ".join(in_order(requirements))), time.monotonic()
            failure = folder.with_suffix(".failed")
            if failure.is_file() and time.time() - failure.stat().st_mtime < AGAIN_SECONDS:
                raise EnvironmentFailed(failure.read_text())
            say(f"Making an environment with {names} …")
            shutil.rmtree(folder, ignore_errors=True)
            try:
                build(folder, own_python(), [_placed(one, settings.root) for one in in_order(requirements)], say, lock)
            except EnvironmentFailed as error:
                write_private(failure, str(error))
                shutil.rmtree(folder, ignore_errors=True)
                raise
            failure.unlink(missing_ok=True)
            label = {"requirements": [shown(one) for one in in_order(requirements)], "python": own_python()}
            write_private(folder / LABEL, json.dumps(label))
            say(f"The environment with {names} is ready after {time.monotonic() - began:.1f} s.")
        os.utime(folder / LABEL)
    return interpreter(folder)


def python_of(settings: Settings, queue: str) -> str:
    """The interpreter that runs a queue's functions.

    Tundish's own where the environment could not be made: its functions then fail one by one, and say what is missing.
    """
    found = settings.project.queues.get(queue)
    if found and found.requirements:
        with contextlib.suppress(EnvironmentFailed):
            folder = _folder(settings, found.requirements)
            if _made(folder):
                return str(interpreter(folder))
    return own_python()


def own_python() -> str:
    """The interpreter that Tundish is installed for; a process inside an environment finds it on the label."""
    try:
        return str(json.loads((Path(sys.prefix) / LABEL).read_text())["python"])
    except (OSError, ValueError, KeyError, TypeError):
        return sys.executable


def interpreter(folder: Path) -> Path:
    return folder / "bin" / "python"


def _placed(requirement: str, root: Path) -> str:
    return str((root / requirement).resolve()) if is_file(requirement) else requirement


def _folder(settings: Settings, requirements: Collection[str]) -> Path:
    """Where the environment is: another one for another Python, another Tundish, or a file with other content."""
    parts = [sys.implementation.cache_tag or "", sysconfig.get_platform(), own_python(), metadata.version("tundish")]
    for one in in_order(requirements):
        parts.append(one)
        if is_file(one):
            path = settings.root / one
            try:
                parts.append(sha256(path.read_bytes()).hexdigest())
            except OSError as error:
                raise EnvironmentFailed(f"The requirement {one} cannot be read: {error.strerror} ({path}).") from error
    return settings.home.absolute() / FOLDER / sha256("\n".join(parts).encode()).hexdigest()[:16]


def _made(folder: Path) -> bool:
    return (folder / LABEL).is_file() and interpreter(folder).exists()


def _old(path: Path) -> bool:
    return path.exists() and time.time() - path.stat().st_mtime > KEPT_SECONDS


@contextlib.contextmanager
def _locked(folder: Path, *, wait: bool = True) -> Iterator[int]:
    """Hold an environment while it is made; yields the lock, which pip is to inherit.

    So a pip that has outlived its killed parent still keeps the others away from what it writes. Without `wait` it
    raises BlockingIOError where somebody else holds it.
    """
    path = folder.with_suffix(".lock")
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if os.fstat(fd).st_nlink:  # else it was swept away meanwhile: nobody else would see this one
                yield fd
                return
        finally:
            os.close(fd)
