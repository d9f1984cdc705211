"""Writing a segment from the documents that won, wherever their rows are: in batches or in older segments."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path

import faiss
import numpy as np

from runtime.context import Store
from runtime.errors import CorruptSegment
from runtime.index import attributes, included, layout, lexical_file, pack, pieces, vector_file, whole
from runtime.index.body import Body, Stored
from runtime.index.docs import DOCS, Docs, in_order, rows_of
from runtime.index.early import Early
from runtime.index.included import BATCHES, Batch
from runtime.index.kinds import is_compact
from runtime.index.lexical_file import LEXICAL
from runtime.index.pieces import PIECES, Piece
from runtime.index.scan_write import write_scan
from runtime.index.segment import INDEX, META, OFFSETS, ROWS, SCAN, TABLE, Meta, Segment, digests, encode_meta
from runtime.index.sent import Sent

UPLOADS = 8
SAMPLE = 8


@dataclass(frozen=True, slots=True)
class Part:
    """Documents to take from finished files, with `batch` counted in the new segment's list of batches."""

    source: Stored
    docs: Docs

    @property
    def rows(self) -> int:
        return int(self.docs["count"].sum(dtype=np.int64))


def write(
    folder: Path,
    parts: Sequence[Part],
    *,
    dimensions: int,
    model: str,
    builder: str,
    batches: Sequence[Batch],
    words: bool = False,
    space: str = "",
    sent: Sent | None = None,
) -> tuple[str, Meta]:
    """Write a segment's files into `folder`; returns its name and what it holds. `words`: to search by, too.

    `space`: whose batches it may refer to for its vectors; empty where it is to have them itself. `sent` gets the
    files of one that refers, each as soon as it is complete.

    Raises CorruptSegment where files of a part are damaged, ServiceFailed where the library for words is missing.
    """
    body, tables = _bodies(folder, parts, dimensions)
    compact, size = is_compact(body.rows), vector_file.size(dimensions, body.rows)
    referred = body.pieces if body.whole else pieces.chosen(body.pieces, dimensions) if space else []
    names: list[str] = []

    def complete(*made: str) -> None:
        names.extend(made)
        if referred and sent:
            for name in made:
                sent.send(name)

    complete(OFFSETS)
    if not body.whole:
        complete(ROWS, *attributes.write(folder, folder / ROWS, body.rows, body.attributes))
    docs = in_order(np.concatenate(tables)) if tables else np.empty(0, DOCS)
    places = included.write(folder, included.packed(batches))
    docs["batch"] = places[docs["batch"]]
    np.save(folder / TABLE, docs, allow_pickle=False)
    complete(TABLE, BATCHES)
    if referred:
        complete(*pieces.write(folder, referred, dimensions, whole=body.whole))
    digest = ""
    if compact and not body.whole:
        digest = write_scan(body, hashed=not referred)
        complete(SCAN)
    if words:
        complete(*lexical_file.write(folder, folder / ROWS, body.rows))
    if body.whole:
        known = digests(folder, [*names, ROWS]) | whole.lent(folder, dimensions, body.rows)
    elif referred or compact:
        known = digests(folder, names)
        known[INDEX] = (known[PIECES][0] if referred else digest), size
    else:
        known = digests(folder, [*names, INDEX])
    meta = Meta(
        dimensions=dimensions,
        vectors=body.rows,
        documents=len(docs),
        model=model,
        faiss=faiss.__version__,
        created=time.time(),
        builder=builder,
        max_seq=int(docs["seq"].max()) if len(docs) else 0,
        batches=[],
        kind="compact" if compact else "flat",
        files=known,
        refers=space if referred else "",
        whole=body.whole,
    )
    data = encode_meta(meta)
    (folder / META).write_bytes(data)
    return sha256(data).hexdigest(), meta


def verify(folder: Path, sha: str, meta: Meta, rows: int) -> None:
    """Open what was written and look at some of the `rows` rows as a reader would, where there are vectors to be looked
    at. Raises CorruptSegment."""
    if meta.vectors != rows:
        raise CorruptSegment(f"Segment {sha[:12]} holds {meta.vectors} rows; {rows} were to be written.")
    if meta.whole and not (folder / INDEX).exists():
        return
    segment = Segment(folder, sha, meta)
    if LEXICAL in meta.files and segment.lexical is None:
        raise CorruptSegment(f"Segment {sha[:12]}: its words cannot be looked up; the log says why.")
    positions = np.linspace(0, len(segment) - 1, min(SAMPLE, len(segment)), dtype=np.int64)
    allowed = np.zeros((len(segment) + 7) // 8, np.uint8)
    np.bitwise_or.at(allowed, positions >> 3, (1 << (positions & 7)).astype(np.uint8))
    queries = segment.vectors(positions)
    # Only these rows are scored: a search of everything takes as long as the build for all its worth.
    for position, query, (scores, _) in zip(positions, queries, segment.search(queries, 1, allowed), strict=True):
        # Another row may hold an equal vector; the score tells.
        if not len(scores) or scores[0] < float(query @ query) - 1e-4:
            raise CorruptSegment(f"Segment {sha[:12]}: row {position} is not found by its own vector.")
        segment.fields(int(position))


def upload(
    store: Store,
    index: str,
    folder: Path,
    segment: tuple[str, Meta] | None,
    tombstones: Mapping[str, bytes],
    early: Early | Sent | None = None,
) -> str:
    """Everything that a new version names, at once: for a small one it is the store's answers that are waited for.

    Returns the segment's name, which is not its hash alone where it is one object (pack.py), or where files were
    sent ahead (`early`).
    """
    sha = segment[0] if segment else ""
    if segment and not early and pack.fits(segment[1]):
        _send(store, index, folder, layout.packed(sha), [], tombstones, pack.join(folder, segment[1]))
        return layout.packed(sha)
    names = [*segment[1].stored, META] if segment else []
    if segment and early:
        named = layout.early(sha, early.folder)
        try:
            _send(store, index, folder, named, [name for name in names if name not in early.names], tombstones)
        except BaseException:
            early.give_up()
            raise
        if early.finished():
            return named
        tombstones = {}  # these are there
    _send(store, index, folder, sha, names, tombstones)
    return sha


def _send(
    store: Store,
    index: str,
    folder: Path,
    segment: str,
    names: Sequence[str],
    tombstones: Mapping[str, bytes],
    packed: bytes = b"",
) -> None:
    def file(name: str) -> None:
        with (folder / name).open("rb") as data:
            size = (folder / name).stat().st_size
            store.put_stream(store.bucket, layout.segment(index, segment) + name, data, size)

    def put(key: str, data: bytes) -> None:
        store.put(store.bucket, key, data)

    jobs = [partial(put, layout.tombstones(index) + name, data) for name, data in tombstones.items()]
    jobs += [partial(put, layout.beginning(index, segment), packed)] if packed else []
    jobs += [partial(file, name) for name in names]
    if len(jobs) == 1:
        jobs[0]()
        return
    with ThreadPoolExecutor(UPLOADS, thread_name_prefix="upload") as pool:
        for sent in [pool.submit(job) for job in jobs]:
            sent.result()


def _bodies(folder: Path, parts: Sequence[Part], dimensions: int) -> tuple[Stored, list[Docs]]:
    """The vectors and rows of all parts, and their tables with the row numbers that documents have now."""
    if len(parts) == 1 and parts[0].source.rows == parts[0].rows:
        only = parts[0].source  # all of it: these are the files
        for name in (ROWS, OFFSETS) if only.whole else (INDEX, ROWS, OFFSETS):
            os.link(only.folder / name, folder / name)
        return replace(only, folder=folder, dimensions=dimensions, files={}), [np.array(parts[0].docs)]
    tables, left = [], list[Piece]()
    with Body(folder) as body:
        for part in parts:
            docs, before = np.array(part.docs), len(body)
            rows = rows_of(docs)
            body.copy(part.source, rows)
            kept = np.zeros(part.source.rows + 1, np.int64)
            kept[rows + 1] = 1
            left += pieces.kept(part.source.pieces or [pieces.whole("", "", part.source.rows)], kept[1:] > 0)
            docs["first"] = before + np.cumsum(kept)[np.minimum(docs["first"], part.source.rows)]
            tables.append(docs)
        return replace(body.close(dimensions), pieces=left), tables
