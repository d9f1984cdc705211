"""Files from the store into the cache: hashed while they come, under their name when they are complete and on disk."""

from __future__ import annotations

import fcntl
import io
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from runtime.context import Store
from runtime.errors import CorruptSegment

THREADS = 8
_PART = ".part-"
_LITTER_SECONDS = 3600.0  # a file that grows is younger
_held = threading.local()
"""`folders`: those that this thread holds."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """An object, where it belongs, and what it must be: sha256 and bytes."""

    key: str
    path: Path
    digest: str
    size: int

    @property
    def done(self) -> bool:
        try:
            return self.path.stat().st_size == self.size
        except FileNotFoundError:
            return False


def fetch(store: Store, folder: Path, wanted: Sequence[Fetch]) -> None:
    """Fetch into `folder` what is not there, all files at once. Raises CorruptSegment, ObjectMissing, StoreDown.

    Of several processes that want the same, one fetches and the others wait.
    """
    if all(one.done for one in wanted):
        return
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder):
        for litter in folder.glob(_PART + "*"):
            if litter.stat().st_mtime < time.time() - _LITTER_SECONDS:
                litter.unlink(missing_ok=True)
        missing = [one for one in wanted if not one.done]
        if len(missing) < 2:  # tombstones, mostly: no thread is worth it
            list(map(partial(_one, store), missing))
            return
        with ThreadPoolExecutor(min(THREADS, len(missing)), thread_name_prefix="fetch") as pool:
            list(pool.map(partial(_one, store), missing))


@contextmanager
def alone(folder: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold a folder against other processes and threads that do the same; False where another one holds it.

    Who waits for it and holds it already goes on at once.
    """
    mine: set[Path] = _held.__dict__.setdefault("folders", set())
    if folder in mine:
        yield wait
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        except OSError:  # a file system that knows no locks: the same may be fetched twice, no more
            pass
        mine.add(folder)
        yield True
    finally:
        mine.discard(folder)
        os.close(descriptor)


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """A temporary file that takes the place of `path` when it is complete and, if it is to be `durable`, on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=_PART)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        if durable:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _one(store: Store, wanted: Fetch) -> None:
    with replacing(wanted.path) as temporary:
        with _Hashed(temporary, "wb") as file:
            store.download(store.bucket, wanted.key, file)
        if file.digest != wanted.digest:
            raise CorruptSegment(f"{wanted.key} in the store does not match its hash; it was changed or cut short.")


class _Hashed(io.FileIO):
    """A file that knows the hash of what was written to it, from its beginning on."""

    def __init__(self, path: Path, mode: str) -> None:
        super().__init__(path, mode)
        self._sha = sha256()

    @property
    def digest(self) -> str:
        return self._sha.hexdigest()

    def write(self, data: Any) -> int:
        view = memoryview(data)
        self._sha.update(view)
        rest = view
        while rest:
            rest = rest[super().write(rest) :]
        return len(view)
