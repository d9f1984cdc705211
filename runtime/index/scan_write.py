"""The compact form of a segment, from its exact vectors as they are on disk, which are read once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np

from runtime.errors import CorruptSegment
from runtime.index.body import Stored
from runtime.index.docs import Vectors
from runtime.index.kinds import SAMPLE, CompactWriter
from runtime.index.rabitq import BLOCK
from runtime.index.segment import SCAN
from runtime.index.vector_file import HEADER_BYTES, INDEX

PLACES = 256  # of the file, from which the sample for the centre is taken


def write_scan(body: Stored, *, by_faiss: bool = False, hashed: bool = True, path: Path | None = None) -> str:
    """Write it; from the same vectors the same file. Returns the sha256 of the file of the exact vectors.

    `by_faiss`: encoded by FAISS, as earlier releases did, which rounds otherwise. `hashed`: whether that hash is
    wanted. `path`: where it goes, if not to its place beside them.
    """
    rows = max(1, SAMPLE // PLACES)
    starts = np.linspace(0, body.rows, PLACES, endpoint=False, dtype=np.int64)
    sample = np.empty((sum(min(rows, body.rows - start) for start in starts.tolist()), body.dimensions), np.float32)
    done = 0
    for block in _blocks(body, starts.tolist(), rows):
        sample[done : done + len(block)] = block
        done += len(block)
    scan = CompactWriter(sample, by_faiss=by_faiss)
    digest = sha256()
    for block in _blocks(body, range(0, body.rows, BLOCK), BLOCK, digest.update if hashed else None):
        scan.add(block)
    scan.write(path or body.folder / SCAN)
    return digest.hexdigest()


def _blocks(
    body: Stored, starts: Iterable[int], rows: int, head: Callable[[memoryview], object] | None = None
) -> Iterator[Vectors]:
    """Vectors, each block in the place of the one before. Read and not mapped: what is mapped and was looked at counts
    as memory of this process.

    `head` is given every byte of the file, where the blocks are all of it.
    """
    room = np.empty((rows, body.dimensions), np.float32)
    with (body.folder / INDEX).open("rb", buffering=0) as file:
        if head:
            head(memoryview(file.read(HEADER_BYTES)))
        for start in starts:
            block = room[: min(rows, body.rows - start)]
            file.seek(HEADER_BYTES + start * body.dimensions * 4)
            if file.readinto(block.data) != block.nbytes:
                raise CorruptSegment(f"{body.folder.name[:12]}/{INDEX} is shorter than its {body.rows} vectors.")
            if head:
                head(block.data)
            yield block
