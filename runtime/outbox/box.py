"""One folder of an outbox: what one process wrote, under a lock that shows whether that process still lives."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections import Counter, OrderedDict
from collections.abc import Sequence
from pathlib import Path

from runtime.outbox.journal import Journal, Place
from runtime.outbox.kept_call import unpack

LOCK = "lock"


class Box:
    """A folder with its lock, its journal, and what of it is not delivered yet, oldest first."""

    def __init__(self, folder: Path, lock: int) -> None:
        self.folder, self.lock = folder, lock
        self.journal = Journal(folder)
        self.places: OrderedDict[str, Place] = OrderedDict()
        for place, data in self.journal.scan():
            self.places[unpack(data).id] = place
        self._left = Counter(place.segment for place in self.places.values())
        for segment in self.journal.segments():
            self._drop_if_done(segment)

    def add(self, records: Sequence[tuple[str, bytes]]) -> None:
        places = self.journal.append([data for _, data in records])
        for (task_id, _), place in zip(records, places, strict=True):
            self.places[task_id] = place
            self._left[place.segment] += 1

    def done(self, task_id: str) -> None:
        place = self.places.pop(task_id, None)
        if place is not None:
            self._left[place.segment] -= 1
            self._drop_if_done(place.segment)

    def close(self) -> None:
        """Let go of the folder; it is deleted when nothing waits in it."""
        self.journal.close()
        if not self.places:
            shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self.lock)

    def _drop_if_done(self, segment: int) -> None:
        if not self._left[segment]:
            del self._left[segment]
            self.journal.drop(segment)


def take(folder: Path) -> int | None:
    """The lock of a box as a file descriptor; None while its process lives."""
    fd = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd
