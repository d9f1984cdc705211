"""A journal on disk: records appended to segment files, each with its length and checksum, synced before it counts."""

from __future__ import annotations

import contextlib
import logging
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

log = logging.getLogger("tundish.outbox")

SEGMENT_BYTES = 4 * 2**20
"""A segment that has grown to this size is followed by a new one; delivered ones are deleted whole."""

_HEAD = struct.Struct(">II")  # length and CRC-32 of the record
_SUFFIX = ".journal"


class Place(NamedTuple):
    """Where a record stands. Later records have greater places."""

    segment: int
    offset: int
    length: int


class Journal:
    """The segments of one folder. One process appends; `append` and `drop` are not to run at the same time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sizes = {int(path.stem): path.stat().st_size for path in folder.glob(f"*{_SUFFIX}")}
        self.size = sum(self._sizes.values())
        """Bytes on disk."""
        self._next = max(self._sizes, default=0) + 1
        self._open: tuple[int, int] | None = None
        """Number and file descriptor of the segment that is written."""

    def append(self, records: Sequence[bytes]) -> list[Place]:
        """Write records and sync them with one call. Raises OSError, and then none of them is kept."""
        number, fd = self._open or self._begin()
        start = self._sizes[number]
        places, offset = [], start
        for record in records:
            places.append(Place(number, offset, len(record)))
            offset += framed(len(record))
        data = memoryview(b"".join(_HEAD.pack(len(one), zlib.crc32(one)) + one for one in records))
        try:
            while data:  # a disk that fills up takes a part
                data = data[os.write(fd, data) :]
            os.fsync(fd)
        except OSError:
            self._take_back(number, fd, start)
            raise
        self._sizes[number] = offset
        self.size += offset - start
        if offset >= SEGMENT_BYTES:
            self._end()
        return places

    def read(self, place: Place) -> bytes:
        """One record. Raises FileNotFoundError when its segment was dropped."""
        with self._path(place.segment).open("rb") as file:
            file.seek(place.offset + _HEAD.size)
            return file.read(place.length)

    def scan(self) -> Iterator[tuple[Place, bytes]]:
        """Every whole record, oldest first. What a crash left unfinished at an end was never promised to anybody."""
        for number in sorted(self._sizes):
            data = self._path(number).read_bytes()
            offset = 0
            while (record := _record(data, offset)) is not None:
                yield Place(number, offset, len(record)), record
                offset += framed(len(record))
            if offset < len(data):
                log.warning("%s: %d bytes at its end are no record", self._path(number), len(data) - offset)

    def drop(self, number: int) -> None:
        """Delete a segment, whatever is in it."""
        if self._open and self._open[0] == number:
            self._end()
        self.size -= self._sizes.pop(number)
        self._path(number).unlink(missing_ok=True)

    def segments(self) -> list[int]:
        return sorted(self._sizes)

    def close(self) -> None:
        if self._open:
            self._end()

    def _begin(self) -> tuple[int, int]:
        number = self._next
        fd = os.open(self._path(number), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self._next, self._sizes[number], self._open = number + 1, 0, (number, fd)
        try:
            sync_folder(self._folder)
        except OSError:
            self.drop(number)
            raise
        return number, fd

    def _take_back(self, number: int, fd: int, size: int) -> None:
        """After a failed write: nothing of it stays, and nothing follows it in this file."""
        with contextlib.suppress(OSError):
            os.ftruncate(fd, size)
            os.fsync(fd)
        self._end()
        if size == 0:
            self.drop(number)

    def _end(self) -> None:
        if self._open:
            os.close(self._open[1])
            self._open = None

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:012d}{_SUFFIX}"


def framed(length: int) -> int:
    """Bytes that a record of this length takes."""
    return _HEAD.size + length


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _record(data: bytes, offset: int) -> bytes | None:
    """The record that begins at `offset`; None where there is none. An empty one would look like a file of zeros."""
    if offset + _HEAD.size > len(data):
        return None
    length, checksum = _HEAD.unpack_from(data, offset)
    record = data[offset + _HEAD.size : offset + _HEAD.size + length]
    return record if length and len(record) == length and zlib.crc32(record) == checksum else None
