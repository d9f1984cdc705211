"""Saved files → new processes: only those that need it, and the old ones until the new ones answer."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Mapping
from pathlib import Path

from runtime.config import Function
from runtime.config_load import Loaded, load
from runtime.deployment import Deployment
from runtime.errors import TundishError
from runtime.house import House
from runtime.parts import connections
from runtime.supervisor import Stopping

_WORKER_START_SECONDS = 60.0
_MOST_FOLDERS = 2000
IGNORED = frozenset({"venv", "node_modules", "__pycache__", "build", "dist"})


def handler_file(spec: Function, root: Path) -> Path | None:
    """The file of a handler `path.py:name`; None for `package.module:name`."""
    place = spec.handler.rpartition(":")[0]
    return (root / place).resolve() if place.endswith(".py") else None


def touched(spec: Function, root: Path, changed: set[Path], others: frozenset[Path | None] = frozenset()) -> bool:
    """Whether changed code can be the function's: its own file, or a helper in or below the same folder.

    `others`: files of handlers, which are nobody else's helpers.
    """
    file = handler_file(spec, root)
    folder = file.parent if file else root.resolve()
    apart = others if file else frozenset()  # who names a module may import from anywhere
    helpers = {path for path in changed if path.suffix == ".py" and folder in path.parents and path not in apart}
    return file in changed or bool(helpers)


def affected(old: Deployment, new: Deployment, changed: set[Path]) -> set[str]:
    """Queues of the new deployment whose workers must be replaced.

    Workers route the calls that functions make, so a change of anything that is declared concerns them all; a
    change of code concerns the queues of its functions.
    """
    queues = set(new.settings.project.queues)
    if old.settings.project != new.settings.project or _contracts(old) != _contracts(new):
        return queues
    functions, root = new.settings.project.functions.values(), new.settings.root
    handlers = frozenset(handler_file(spec, root) for spec in functions)
    return {spec.queue for spec in functions if touched(spec, root, changed, handlers)} & queues


def newly_broken(old: Deployment, new: Deployment) -> Mapping[str, str]:
    """Functions that worked (or are new) and cannot be loaded now, with the reason."""
    known = {name: deployed.error for name, deployed in old.functions.items()}
    return {name: found.error for name, found in new.functions.items() if found.error and not known.get(name)}


class Reloader:
    """Follows the files of a project. Changes that were refused count again at the next attempt."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._root = house.settings.root.resolve()
        self._file, self._home = house.settings.file.resolve(), house.settings.home.resolve()
        self._pending: set[Path] = set()

    def watch(self) -> None:
        """Returns when the system stops. Runs in the director's thread."""
        from watchfiles import watch

        stop = threading.Event()
        if early := self._saved_since(self._house.began):
            self.apply(early)
        threading.Thread(target=self._stop_with_supervisor, args=(stop,), daemon=True).start()
        while not stop.is_set():
            # Folder by folder: watching recursively would take in .venv with its thousands of folders.
            for batch in watch(
                *folders(self._root, self._home),
                watch_filter=self._wanted,
                recursive=False,
                stop_event=stop,
                raise_interrupt=False,
                step=50,
                debounce=400,
            ):
                paths = {Path(path).resolve() for _, path in batch}
                if files := {path for path in paths if path == self._file or path.suffix == ".py"}:
                    self.apply(files)
                if files != paths:
                    break  # a folder came or went

    def apply(self, changed: set[Path]) -> None:
        """Take changed files over, or say what is wrong with them and leave everything as it is."""
        house, say = self._house, self._house.console.say
        self._pending |= changed
        names = ", ".join(sorted({path.name for path in changed}))
        old = house.deployment
        try:
            new = house.describe(self._loaded())
        except TundishError as error:
            say(f"{names}: not taken over, everything keeps running as it was.\n{error}")
            return
        if broken := newly_broken(old, new):
            reasons = "\n".join(f"{name}: {reason}" for name, reason in broken.items())
            say(f"{names}: not taken over, everything keeps running as it was.\n{reasons}")
            return
        queues = affected(old, new, self._pending)
        if queues or old != new:
            say(f"{names} changed: taking it over …")
            house.adopt(new)
            self._replace(queues)
        else:
            self._pending.clear()

    def _replace(self, queues: set[str]) -> None:
        house, say = self._house, self._house.console.say
        failed = house.new_workers(sorted(queues), _WORKER_START_SECONDS)
        house.tell()
        for queue in set(house.workers) - set(house.settings.project.queues):
            house.drop_worker(queue)
        if failed:
            say(f"No new worker came up for: {', '.join(failed)} (see above). The old code keeps running there.")
        else:
            self._pending.clear()
        if fresh := sorted(queues.difference(failed)):
            say(f"The new code runs on: {', '.join(fresh)}")

    def _saved_since(self, moment: float) -> set[Path]:
        """Files of the project that were saved while the system started, when nobody watched yet."""
        found = {path for folder in folders(self._root, self._home) for path in folder.glob("*.py")} | {self._file}
        saved = set()
        for path in found:
            with contextlib.suppress(OSError):
                if path.stat().st_mtime > moment:
                    saved.add(path.resolve())
        return saved

    def _loaded(self) -> Loaded:
        """What functions.yaml says now, with the connections as they are. Raises ConfigError."""
        now = self._house.settings
        environ = {**self._house.environ, **connections(now)}
        read = load(environ, file=now.file, home=now.home, host=now.host, port=now.port)
        return Loaded(read.settings.model_copy(update={"description": now.description}), read.sources)

    def _wanted(self, _: object, path: str) -> bool:
        found = Path(path).resolve()
        if self._home in (found, *found.parents) or found.name in IGNORED or found.name.startswith("."):
            return False
        return found == self._file or found.suffix == ".py" or found.is_dir()

    def _stop_with_supervisor(self, stop: threading.Event) -> None:
        with contextlib.suppress(Stopping):
            while True:
                self._house.supervisor.sleep(3600)
        stop.set()


def folders(root: Path, home: Path) -> list[Path]:
    """The folders of a project that can hold code, without hidden ones, environments and the state folder."""
    result = []
    for folder, below, _ in os.walk(root):
        here = Path(folder)
        result.append(here)
        below[:] = [n for n in below if n not in IGNORED and not n.startswith(".") and here / n != home]
        if len(result) == _MOST_FOLDERS:
            break
    return result


def _contracts(deployment: Deployment) -> dict[str, object]:
    return {name: (found.schema, found.open) for name, found in deployment.functions.items()}
