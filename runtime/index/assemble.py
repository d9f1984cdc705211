"""index.faiss of a segment whose vectors are in batches: put together from these, each checked against its hash."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from itertools import accumulate
from pathlib import Path

from runtime.context import Store
from runtime.errors import CorruptSegment
from runtime.index import layout, pieces, trust
from runtime.index.fetch import THREADS, alone, replacing
from runtime.index.pieces import OWN, Piece
from runtime.index.vector_file import HEADER_BYTES, INDEX, NPY_BYTES, header

_ROWS = 4096  # that are copied at once
Placed = tuple[Piece, int]
"""A piece, and its first row in the segment."""


def assemble(store: Store, space: str, folder: Path, size: int) -> None:
    """Put it into `folder`, where everything else of the segment is; `size` are its bytes, `space` is whose batches
    hold the vectors. Raises CorruptSegment, ObjectMissing, StoreDown.

    Of several processes that want it, one fetches and the others wait. Memory: a batch's vectors for each thread.
    """
    with alone(folder):
        path = folder / INDEX
        if path.exists() and path.stat().st_size == size:
            return
        dimensions, wanted = pieces.load(folder)
        starts = list(accumulate((piece.rows for piece in wanted), initial=0))
        placed: dict[tuple[str, str], list[Placed]] = {}
        for one in zip(wanted, starts, strict=False):
            placed.setdefault(one[0][:2], []).append(one)
        durable = not trust.marked(folder)
        with replacing(path, durable=durable) as temporary, temporary.open("r+b") as file:
            file.write(header(dimensions, starts[-1]))
            file.flush()
            target = _Target(file.fileno(), dimensions * 4)
            target.copy(folder / OWN, placed.pop(("", ""), ()))

            def one_batch(name: tuple[str, str]) -> None:
                key = layout.batch(space, name[0]) + layout.VECTORS
                data = store.get(store.bucket, key).data
                if sha256(data).hexdigest() != name[1]:
                    raise CorruptSegment(f"{key} in the store does not match its hash; it was changed or cut short.")
                target.put(memoryview(data), placed[name])

            with ThreadPoolExecutor(THREADS, thread_name_prefix="assemble") as pool:
                list(pool.map(one_batch, placed))
        if path.stat().st_size != size:
            raise CorruptSegment(f"{folder.name[:12]}/{INDEX} has other vectors than its segment says.")


class _Target:
    """The file that is put together; rows have `width` bytes."""

    def __init__(self, descriptor: int, width: int) -> None:
        self._descriptor, self._width = descriptor, width

    def put(self, data: memoryview, placed: Sequence[Placed]) -> None:
        """Rows of an .npy file, each piece to its place."""
        for piece, start in placed:
            first = NPY_BYTES + piece.first * self._width
            self._write(data[first : first + piece.rows * self._width], start)

    def copy(self, path: Path, placed: Sequence[Placed]) -> None:
        """The same from a file that may be large."""
        if not placed:
            return
        with path.open("rb") as file:
            for piece, start in placed:
                file.seek(NPY_BYTES + piece.first * self._width)
                for row in range(0, piece.rows, _ROWS):
                    count = min(_ROWS, piece.rows - row)
                    self._write(memoryview(file.read(count * self._width)), start + row)

    def _write(self, data: memoryview, row: int) -> None:
        put_at(self._descriptor, data, HEADER_BYTES + row * self._width)


def put_at(descriptor: int, data: memoryview, at: int) -> None:
    """Write all of `data` to this place of a file."""
    while len(data):
        done = os.pwrite(descriptor, data, at)
        data, at = data[done:], at + done
