"""When to reload: files that are saved, and SIGHUP. Everything ends up in one queue, and is taken from it in turn."""

from __future__ import annotations

import queue
import threading
from pathlib import Path

from runtime.deployment.project_files import IGNORED, Listing, different, folders, listing
from runtime.processes.supervisor import Stopping
from runtime.system.house import House
from runtime.system.reload import Reloader

_STEP_MS = 20
"""Files that are saved within this time of each other go together, as when an editor writes a copy and renames it."""

_MOST_MS = 400
_LOOK_SECONDS = 0.2
_LOOK_MS = 2000
"""How often files are looked at although nothing was told of them."""


class Watching:
    """Runs a reloader in the director's thread until the system stops."""

    def __init__(self, house: House, *, files: bool) -> None:
        self._house, self._follow = house, files
        self._root = house.settings.root.resolve()
        self._file, self._home = house.settings.file.resolve(), house.settings.home.resolve()
        self._changes: queue.SimpleQueue[set[Path] | None] = queue.SimpleQueue()
        self._over = threading.Event()
        self._told = False

    def run(self) -> None:
        """Returns when the system stops."""
        reloader, supervisor = Reloader(self._house), self._house.supervisor
        self._house.describers.overtaken = lambda: supervisor.stopping() or not self._changes.empty()
        if self._follow:
            known = dict(reloader.listing)
            threading.Thread(target=self._watch, args=(known,), name="files", daemon=True).start()
            if early := reloader.saved_since(self._house.began):
                reloader.apply(early)
        try:
            while True:
                supervisor.sleep(0)
                if supervisor.asked.is_set():
                    supervisor.asked.clear()
                    reloader.apply_all()
                if changed := self._next():
                    reloader.apply(changed)
        except Stopping:
            pass
        finally:
            self._over.set()

    def _next(self) -> set[Path]:
        """What was saved, as soon as it is; nothing after a moment."""
        try:
            found = self._changes.get(timeout=_LOOK_SECONDS) or set()
            while not self._changes.empty():
                found |= self._changes.get() or set()
        except queue.Empty:
            return set()
        return found

    def _watch(self, known: Listing) -> None:
        """What the system tells of files only wakes: what has changed is found by looking, and looked for at times
        anyway. So nothing is missed between two watches, or where a file system tells of nothing."""
        from watchfiles import watch

        def look() -> None:
            nonlocal known
            now = listing(self._root, self._file, self._home)
            if changed := different(known, now):
                known = now
                self._changes.put(changed)

        while not self._over.is_set():
            watched = folders(self._root, self._home)
            try:
                # Folder by folder: watching recursively would take in .venv with its thousands of folders.
                for _ in watch(
                    *watched,
                    watch_filter=self._wanted,
                    recursive=False,
                    stop_event=self._over,
                    raise_interrupt=False,
                    step=_STEP_MS,
                    debounce=_MOST_MS,
                    yield_on_timeout=True,
                    rust_timeout=_LOOK_MS,
                ):
                    look()
                    if folders(self._root, self._home) != watched:
                        break
            except FileNotFoundError:  # a folder went just now
                continue
            except OSError as error:  # no inotify watches are left, say
                if not self._told:
                    self._told = True
                    self._house.console.say(f"Files cannot be watched ({error}); they are looked at every 2 s instead.")
                self._over.wait(_LOOK_MS / 1000)
                look()

    def _wanted(self, _: object, path: str) -> bool:
        found = Path(path).resolve()
        if self._home in (found, *found.parents) or found.name in IGNORED or found.name.startswith("."):
            return False
        return found == self._file or found.suffix == ".py" or found.is_dir()
