"""Calls that were accepted while the broker was away: on the gateway's disk, until they are delivered.

Each process writes into a box (a folder) of its own and holds its lock. The boxes of processes that are gone are
taken over by whoever looks next.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.outbox.box import LOCK, Box, take
from runtime.outbox.journal import sync_folder
from runtime.outbox.kept_call import Kept, unpack
from runtime.security.private_files import private_folder


@dataclass(frozen=True, slots=True)
class Waiting:
    """The oldest call that waits. `position` grows within a box."""

    kept: Kept
    box: str
    position: int


class Outbox:
    """All boxes that this process holds. Thread-safe; what touches the disk blocks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._own: Box | None = None
        self._adopted: list[Box] = []
        self._lock = threading.Lock()

    @property
    def calls(self) -> int:
        return sum(len(box.places) for box in self._boxes())

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(box.journal.size for box in self._boxes())

    def adopt(self) -> int:
        """Take over the boxes of processes that are gone; returns how many calls wait in them. Raises OSError."""
        if not self.folder.exists():
            return 0
        found = 0
        with self._lock, self._turn():
            held = {box.folder for box in self._boxes()}
            for folder in sorted(path for path in self.folder.iterdir() if path.is_dir() and path not in held):
                lock = take(folder)
                if lock is None:
                    continue
                try:
                    box = Box(folder, lock)
                except OSError:
                    os.close(lock)
                    raise
                if box.places:
                    self._adopted.append(box)
                    found += len(box.places)
                else:
                    box.close()
        return found

    def add(self, records: Sequence[tuple[str, bytes]]) -> None:
        """Write packed calls down, by id, with one sync. Raises OSError, and then none of them is kept."""
        with self._lock:
            if self._own is None:
                self._own = self._new()
            self._own.add(records)

    def find(self, task_id: str) -> Kept | None:
        """A call that waits."""
        for box in self._boxes():
            place = box.places.get(task_id)
            if place is not None:
                with contextlib.suppress(FileNotFoundError):  # delivered just now
                    return unpack(box.journal.read(place))
        return None

    def __contains__(self, task_id: str) -> bool:
        return any(task_id in box.places for box in self._boxes())

    def oldest(self) -> Waiting | None:
        """The call to deliver next: boxes that were taken over come first. Raises OSError."""
        with self._lock:
            for box in self._boxes():
                for place in box.places.values():
                    kept = unpack(box.journal.read(place))
                    return Waiting(kept, box.folder.name, (place.segment << 32) | place.offset)
        return None

    def done(self, waiting: Waiting) -> None:
        """Forget a call that was delivered."""
        with self._lock:
            for box in self._boxes():
                if box.folder.name == waiting.box:
                    box.done(waiting.kept.id)
            for box in [box for box in self._adopted if not box.places]:
                self._adopted.remove(box)
                with self._turn():
                    box.close()

    def close(self) -> None:
        """Leave what waits to the next process."""
        with self._lock:
            boxes = self._boxes()
            self._own, self._adopted = None, []
            if boxes:
                with self._turn():
                    for box in boxes:
                        box.close()

    def _boxes(self) -> list[Box]:
        return [*self._adopted, *([self._own] if self._own else [])]

    def _new(self) -> Box:
        private_folder(self.folder)
        sync_folder(self.folder.parent)
        with self._turn():
            folder = private_folder(self.folder / uuid.uuid4().hex)
            sync_folder(self.folder)
            lock = take(folder)
            assert lock is not None  # noqa: S101 - nobody else looks while it is our turn
            return Box(folder, lock)

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """One process at a time makes, takes over and deletes boxes."""
        fd = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)
