"""Saved files → new code: only in the workers that need it, and the old code until the new one answers."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from runtime.config.load import Loaded, load
from runtime.config.settings import Project
from runtime.deployment.deployment import Deployment, work_of
from runtime.deployment.imports import Files, Imports
from runtime.deployment.project_files import Listing, different, libraries, listing
from runtime.errors import TundishError
from runtime.system.house import House
from runtime.system.parts import connections
from runtime.system.reload_state import Reload, record

_WORKER_START_SECONDS = 60.0
_NO_FILES = Files()


def affected(
    old: Deployment, new: Deployment, changed: set[Path], before: Mapping[str, Files], after: Mapping[str, Files]
) -> set[str]:
    """Queues of the new deployment whose workers need new code or settings.

    `before`, `after`: the files of every function, since a helper that was removed is none any more.
    """
    projects = old.settings.project, new.settings.project
    declared = {queue for queue in projects[1].queues if work_of(projects[0], queue) != work_of(projects[1], queue)}
    return declared | {
        spec.queue
        for name, spec in projects[1].functions.items()
        if (before.get(name, _NO_FILES) | after.get(name, _NO_FILES)).touched(changed)
    }


def newly_broken(old: Deployment, new: Deployment) -> Mapping[str, str]:
    """Functions that worked (or are new) and cannot be loaded now, with the reason."""
    known = {name: deployed.error for name, deployed in old.functions.items()}
    return {name: found.error for name, found in new.functions.items() if found.error and not known.get(name)}


class Reloader:
    """Takes changes of a project over, or says what is wrong with them and leaves everything as it is.

    Changes that were refused count again at the next attempt. Used by the director's thread alone.
    """

    def __init__(self, house: House) -> None:
        self._house = house
        self._root = house.settings.root.resolve()
        self._file = house.settings.file.resolve()
        self._pending: set[Path] = set()
        self._files = Imports(self._root).of(house.settings.project.functions)
        self.listing, self._libraries = self._list(), libraries()
        self._failed: set[str] = set()

    def saved_since(self, moment: float) -> set[Path]:
        """Files of the project that were saved while the system started, when nobody watched yet."""
        return {path for path, (changed, *_) in self.listing.items() if changed / 1e9 > moment}

    def apply_all(self) -> None:
        """Take over whatever has changed since the last time, installed libraries too: a person asked."""
        changed = different(self.listing, self._list())
        everything = libraries() != self._libraries
        if changed or everything or self._pending or self._missing(self._house.settings.project):
            self.apply(changed, everything=everything)
        else:
            self._tell(Reload(time.time(), 0.0, True, "nothing has changed"))

    def apply(self, changed: set[Path], *, everything: bool = False) -> None:
        """Take changed files over. `everything`: start all workers anew, with the libraries as they are now."""
        began, house, installed = time.time(), self._house, libraries()
        self._pending |= changed
        now = self._list()
        for path in changed:
            self.listing.pop(path, None)
        self.listing |= {path: found for path, found in now.items() if path in changed}
        if everything:
            house.describers.close()  # the next one starts with the libraries as they are now
        # What concerns nobody, a test say, is named only where there is nothing else.
        used = {
            path for path in self._pending if path == self._file or any(f.touched({path}) for f in self._files.values())
        }
        files = sorted(path.name for path in used or self._pending)
        old = house.deployment
        try:
            new = house.describe(self._loaded())
        except TundishError as error:
            self._refuse(began, files, str(error))
            return
        if broken := newly_broken(old, new):
            self._refuse(began, files, "\n".join(f"{name}: {reason}" for name, reason in broken.items()))
            return
        after, project = Imports(self._root).of(new.settings.project.functions), new.settings.project
        # What a parent holds, and with which threads and limits, is decided when it starts.
        anew = set(project.queues) if everything else self._missing(project)
        anew |= {name for name, queue in project.queues.items() if old.settings.project.queues.get(name) != queue}
        queues = anew | affected(old, new, self._pending, self._files, after)
        self._files = after
        if not queues and old == new:
            self._pending.clear()
            self._tell(Reload(began, time.time() - began, True, "nothing that runs is made of it", files))
            return
        what = f"{', '.join(files)} changed" if files else "libraries changed" if everything else "workers are missing"
        house.console.say(f"{what}: taking it over …")
        failed = self._replace(old, new, queues, anew)
        if failed:
            message = f"no new worker came up for {', '.join(failed)} (see above); what ran there before still does"
            self._tell(Reload(began, time.time() - began, False, message, files, failed))
            return
        self._pending.clear()
        if everything:
            self._libraries = installed
        on = f"the new code runs on {', '.join(sorted(queues))}" if queues else "no worker had to change"
        self._tell(Reload(began, time.time() - began, True, on, files, sorted(queues)))

    def _missing(self, project: Project) -> set[str]:
        """Queues whose worker has left, never came up, or could not be replaced the last time."""
        house = self._house
        return (self._failed | house.gone() | (set(project.queues) - set(house.workers))) & set(project.queues)

    def _replace(self, old: Deployment, new: Deployment, queues: set[str], anew: set[str]) -> list[str]:
        """Returns the queues on which the old code goes on, if any ran there."""
        house = self._house
        house.prepare(new)
        failed = house.new_shifts(queues - anew, _WORKER_START_SECONDS) + house.new_workers(anew, _WORKER_START_SECONDS)
        house.commit()
        if old != new:
            house.tell()
        for queue in set(house.workers) - set(new.settings.project.queues):
            house.drop_worker(queue)
        self._failed = set(failed)
        return sorted(failed)

    def _refuse(self, began: float, files: Sequence[str], reason: str) -> None:
        self._house.console.say(f"{', '.join(files)}: not taken over, everything keeps running as it was.")
        self._tell(Reload(began, time.time() - began, False, reason, files))

    def _tell(self, done: Reload) -> None:
        text = (
            f"{done.message} ({', '.join(done.files)}, {done.seconds:.2f} s)"
            if done.files and done.ok
            else done.message
        )
        self._house.console.say(text[:1].upper() + text[1:] if done.ok else text)
        record(self._house.settings, done)

    def _loaded(self) -> Loaded:
        """What functions.yaml says now, with the connections as they are. Raises ConfigError."""
        now = self._house.settings
        environ = {**self._house.environ, **connections(now)}
        read = load(environ, file=now.file, home=now.home, host=now.host, port=now.port)
        return Loaded(read.settings.model_copy(update={"description": now.description}), read.sources)

    def _list(self) -> Listing:
        return listing(self._root, self._house.settings.file.resolve(), self._house.settings.home.resolve())
