"""The vectors and rows of a segment: files that are only ever appended to, in blocks.

FAISS's file for an exact scan is a short header before the numbers as they are, so vectors are written as they come
and no index of them is ever in memory.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import CorruptSegment
from runtime.index import npy, pieces
from runtime.index.attribute_terms import Collector
from runtime.index.docs import Positions, Vectors
from runtime.index.pieces import Piece
from runtime.index.segment import OFFSETS, ROWS
from runtime.index.vector_file import HEADER_BYTES, INDEX, header

BLOCK = 4096  # rows that are copied at once


@dataclass(frozen=True, slots=True)
class Stored:
    """Where finished files lie. `files`: name → (sha256, bytes) where these are known; what is copied is checked.

    `attributes`: what filters ask of the rows, where it is known. `pieces`: where else the vectors are; none: nowhere.
    `whole`: they are whole batches, and there is no file of vectors here.
    """

    folder: Path
    rows: int
    dimensions: int
    files: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    attributes: Collector | None = None
    pieces: Sequence[Piece] = ()
    whole: bool = False


class Body:
    """Takes rows and their vectors, then is closed: from then on the files in `folder` are complete."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._folder, self.vectors = folder, folder / INDEX
        self._vectors, self._rows = self.vectors.open("wb"), (folder / ROWS).open("wb")
        self._vectors.write(bytes(HEADER_BYTES))
        self._lengths, self._whole = array("I"), False

    def __len__(self) -> int:
        return len(self._lengths)

    def __enter__(self) -> Body:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._vectors.close()
        self._rows.close()

    def append(self, vectors: Vectors | None, rows: bytes, lengths: NDArray[np.uint32]) -> None:
        """One vector a row, float32, shape (len(lengths), dimensions); the bytes of each row, one after the other.

        None for all vectors: they stay where they are, and no file of them is made."""
        if vectors is None:
            self._whole = True
        else:
            self._vectors.write(np.ascontiguousarray(vectors).data)
        self._rows.write(rows)
        self._lengths.frombytes(lengths.tobytes())

    def flushed(self) -> int:
        """How many bytes of the file `vectors` others can read; its first ones are written at the end."""
        self._vectors.flush()
        return self._vectors.tell()

    def copy(self, source: Stored, rows: Positions) -> None:
        """Append these rows of another body, in ascending order. Raises CorruptSegment where its files are not what
        they were written as."""
        keep = np.zeros(source.rows, bool)
        keep[rows] = True
        offsets = _offsets(source)
        with _Reading(source, INDEX) as vectors, _Reading(source, ROWS) as texts:
            vectors.read(HEADER_BYTES)
            for start in range(0, source.rows, BLOCK):
                mine = keep[start : start + BLOCK]
                lengths = np.diff(offsets[start : start + len(mine) + 1]).astype(np.int64)
                numbers = vectors.read(len(mine) * source.dimensions * 4).reshape(len(mine), -1)
                text = texts.read(int(lengths.sum()))
                if not mine.all():
                    numbers, text, lengths = numbers[mine], text[np.repeat(mine, lengths)], lengths[mine]
                self._vectors.write(np.ascontiguousarray(numbers).data)
                self._rows.write(text.data)
                self._lengths.frombytes(lengths.astype(np.uint32).tobytes())

    def close(self, dimensions: int) -> Stored:
        """Nothing can be added any more."""
        offsets = np.zeros(len(self) + 1, np.uint64)
        np.cumsum(np.frombuffer(self._lengths, np.uint32), dtype=np.uint64, out=offsets[1:])
        np.save(self._folder / OFFSETS, offsets, allow_pickle=False)
        self._rows.close()
        if self._whole:
            self._vectors.close()
            self.vectors.unlink()
            return Stored(self._folder, len(self), dimensions, whole=True)
        self._vectors.seek(0)
        self._vectors.write(header(dimensions, len(self)))
        self._vectors.close()
        return Stored(self._folder, len(self), dimensions)


def _offsets(source: Stored) -> NDArray[np.uint64]:
    with _Reading(source, OFFSETS) as file:
        file.read(file.size)
    try:
        found: NDArray[np.uint64] = npy.mapped(source.folder / OFFSETS, np.dtype(np.uint64))
    except ValueError as error:
        raise CorruptSegment(f"{source.folder.name[:12]}/{OFFSETS} cannot be read: {error}.") from error
    return found


class _Reading:
    """A file that is read once, from its beginning to its end, and checked on the way. One that is damaged is removed,
    so that a cache fetches it again."""

    def __init__(self, source: Stored, name: str) -> None:
        self._path = source.folder / name
        self._known = source.files.get(name)
        self._hash: Any = pieces.hashing(self._path) if self._known else None
        self.size = self._path.stat().st_size

    def __enter__(self) -> _Reading:
        self._file = self._path.open("rb", buffering=0)
        return self

    def read(self, size: int) -> NDArray[np.uint8]:
        """Exactly `size` bytes."""
        data = np.empty(size, np.uint8)
        view, done = data.data, 0
        while done < size:
            count = self._file.readinto(view[done:])
            if not count:
                raise self._damaged()
            done += count
        if self._hash:
            self._hash.update(view)
        return data

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if kind is None and self._known and (self._hash.hexdigest(), self.size) != self._known:
            raise self._damaged()

    def _damaged(self) -> CorruptSegment:
        self._path.unlink(missing_ok=True)
        return CorruptSegment(f"{self._path.parent.name[:12]}/{self._path.name} here does not match its hash.")
