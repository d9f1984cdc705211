"""Calls that were accepted while the broker was away: on the gateway's disk, until they are delivered.

Each process writes into a box (a folder) of its own and holds its lock. The boxes of processes that are gone are
taken over by whoever looks next.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import threading
import uuid
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import msgpack

from runtime.journal import Journal, Place, sync_folder
from runtime.private_files import private_folder
from runtime.submit import Call

_LOCK = "lock"


@dataclass(frozen=True, slots=True)
class Kept:
    """One call as it waits. It has an id; `accepted` is in seconds since the epoch, queue and priority as of then."""

    call: Call
    accepted: float
    queue: str
    priority: int

    @property
    def id(self) -> str:
        return str(self.call.id)

    def pack(self) -> bytes:
        call = {field.name: getattr(self.call, field.name) for field in fields(self.call)}
        told = {name: value for name, value in call.items() if value is not None}
        return bytes(msgpack.packb([self.accepted, self.queue, self.priority, told], use_bin_type=True))


def unpack(data: bytes) -> Kept:
    """A call as it was written, perhaps by another version: what is not known any more is left out."""
    accepted, queue, priority, told, *_ = msgpack.unpackb(data, raw=False, strict_map_key=False)
    known = {field.name for field in fields(Call)}
    return Kept(Call(**{name: value for name, value in told.items() if name in known}), accepted, queue, priority)


class _Box:
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
        self._own: _Box | None = None
        self._adopted: list[_Box] = []
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
                lock = _take(folder)
                if lock is None:
                    continue
                box = _Box(folder, lock)
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

    def _boxes(self) -> list[_Box]:
        return [*self._adopted, *([self._own] if self._own else [])]

    def _new(self) -> _Box:
        private_folder(self.folder)
        sync_folder(self.folder.parent)
        with self._turn():
            folder = private_folder(self.folder / uuid.uuid4().hex)
            sync_folder(self.folder)
            lock = _take(folder)
            assert lock is not None  # noqa: S101 - nobody else looks while it is our turn
            return _Box(folder, lock)

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """One process at a time makes, takes over and deletes boxes."""
        fd = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


def _take(folder: Path) -> int | None:
    """The lock of a box as a file descriptor; None while its process lives."""
    fd = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd
