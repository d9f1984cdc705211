"""Writing a segment from the documents that won, wherever their rows are: in batches or in older segments."""

from __future__ import annotations

import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import faiss
import numpy as np

from runtime.errors import CorruptSegment
from runtime.index.docs import DOCS, Docs, Positions, Vectors, rows_of
from runtime.index.segment import INDEX, META, OFFSETS, ROWS, TABLE, Meta, Segment, digests, encode_meta

# Rows that are in memory at once, besides the index itself.
BLOCK = 32_768
SAMPLE = 8


class Source(Protocol):
    """Where rows and vectors come from."""

    def row(self, position: int) -> bytes: ...

    def vectors(self, positions: Positions) -> Vectors: ...


@dataclass(frozen=True, slots=True)
class Part:
    """Documents to take from a source, with `batch` counted in the new segment's list of batches."""

    source: Source
    docs: Docs


def write(
    folder: Path, parts: list[Part], *, dimensions: int, model: str, builder: str, batches: list[tuple[str, str]]
) -> tuple[str, Meta]:
    """Write a segment's files into `folder`; returns its name and what it holds."""
    docs = np.concatenate([part.docs for part in parts]) if parts else np.empty(0, DOCS)
    origin = np.repeat(np.arange(len(parts)), [len(part.docs) for part in parts])
    order = np.lexsort((docs["h2"], docs["h1"]))
    docs, origin = docs[order], origin[order]
    positions = rows_of(docs)
    origins = np.repeat(origin, docs["count"].astype(np.int64))
    _write_vectors(folder, parts, positions, origins, dimensions)
    _write_rows(folder, parts, positions, origins)
    counts = docs["count"].astype(np.int64)
    docs["first"] = np.cumsum(counts) - counts
    np.save(folder / TABLE, docs, allow_pickle=False)
    meta = Meta(
        dimensions=dimensions,
        vectors=len(positions),
        documents=len(docs),
        model=model,
        faiss=faiss.__version__,
        created=time.time(),
        builder=builder,
        max_seq=int(docs["seq"].max()) if len(docs) else 0,
        batches=batches,
        files=digests(folder, [INDEX, ROWS, OFFSETS, TABLE]),
    )
    data = encode_meta(meta)
    (folder / META).write_bytes(data)
    return sha256(data).hexdigest(), meta


def verify(folder: Path, sha: str, meta: Meta, sources: list[Part]) -> None:
    """Open what was written and look at it as a reader would. Raises CorruptSegment."""
    segment = Segment(folder, sha, meta)
    expected = sum(int(part.docs["count"].sum(dtype=np.int64)) for part in sources)
    if len(segment) != expected:
        raise CorruptSegment(f"Segment {sha[:12]} holds {len(segment)} rows; {expected} were to be written.")
    for position in np.linspace(0, len(segment) - 1, min(SAMPLE, len(segment)), dtype=np.int64):
        query = segment.vectors(np.array([position]))
        scores, found = segment.search(query, 1)
        # Another row may hold an equal vector; the score tells.
        if not len(found) or scores[0] < float(query[0] @ query[0]) - 1e-4:
            raise CorruptSegment(f"Segment {sha[:12]}: row {position} is not found by its own vector.")
        segment.fields(int(position))


def _write_vectors(folder: Path, parts: list[Part], positions: Positions, origins: Positions, dimensions: int) -> None:
    index = faiss.IndexFlatIP(dimensions)
    for start in range(0, len(positions), BLOCK):
        block = slice(start, start + BLOCK)
        vectors = np.empty((len(positions[block]), dimensions), np.float32)
        for number, part in enumerate(parts):
            mine = origins[block] == number
            if mine.any():
                vectors[mine] = part.source.vectors(positions[block][mine])
        index.add(vectors)
    faiss.write_index(index, str(folder / INDEX))


def _write_rows(folder: Path, parts: list[Part], positions: Positions, origins: Positions) -> None:
    offsets = np.zeros(len(positions) + 1, np.uint64)
    end = 0
    with (folder / ROWS).open("wb", buffering=2**20) as file:
        for number, (origin, position) in enumerate(zip(origins.tolist(), positions.tolist(), strict=True), 1):
            end += file.write(parts[origin].source.row(position))
            offsets[number] = end
    np.save(folder / OFFSETS, offsets, allow_pickle=False)
