"""Segments of whole batches, for which a build reads no vector: where much is new at once, most of its time went there.

Such a segment says which batches it is made of, one after the other (pieces.py). Its vectors are in these and its rows
are, too; the store gets tables. Each host makes the files that are lent (`Meta.lent`) when it opens the segment:

| file | made of |
|---|---|
| index.faiss | the vectors of the batches, each checked against its hash (assemble.py) |
| rows.bin | the rows in their commits; its hash is known from the build |
| attributes.bin | what is collected of the rows in their commits |
| scan.faiss | index.faiss; processors round differently, so it is not the same everywhere |

The last two have their hashes in files beside them, `NAME.sha256`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import file_digest, sha256
from itertools import accumulate
from pathlib import Path

import faiss

from runtime.context import Store
from runtime.errors import CorruptBatch, CorruptSegment
from runtime.index import kinds, layout, pieces, trust, vector_file
from runtime.index.assemble import assemble, put_at
from runtime.index.attribute_terms import Collector
from runtime.index.attributes import ATTRIBUTES, SMALL, write_table
from runtime.index.batch_commit import decode
from runtime.index.body import Stored
from runtime.index.fetch import THREADS, alone, replacing
from runtime.index.packed import Packed
from runtime.index.pieces import PIECES, Piece
from runtime.index.scan_write import write_scan
from runtime.index.segment import ANY, INDEX, ROWS, SCAN, Meta, offsets_of

LEAST_BYTES = 32 * 2**20
"""Of vectors: for fewer, reading them takes a tenth of a second."""

LEAST_BATCHES = 16
"""Of batches that are named, from which on the store is asked about each."""

SMALL_SHARE = 8
"""At most this part (1/8) of the batches may be so small that reading them takes a trip for little."""


class NotWhole(Exception):
    """Something of a batch is not to be in the segment, or cannot be referred to: vectors have to be read."""


def worth(sizes: Sequence[int]) -> bool:
    """Whether batches with so many bytes of vectors are to be a segment of whole batches."""
    small = sum(size < pieces.LEAST_BYTES for size in sizes)
    return sum(sizes) >= LEAST_BYTES and small * SMALL_SHARE <= len(sizes) <= pieces.MOST


def lent(folder: Path, dimensions: int, rows: int) -> dict[str, tuple[str, int]]:
    """Hash and size of the files that each host makes, for what a segment says of itself. Their hash is that of the
    list of pieces (pieces.hashing)."""
    digest = sha256((folder / PIECES).read_bytes()).hexdigest()
    found = {INDEX: (digest, vector_file.size(dimensions, rows))}
    if rows >= SMALL:
        found[ATTRIBUTES] = digest, ANY
    if kinds.is_compact(rows):
        found[SCAN] = digest, kinds.size(dimensions, rows)
    return found


def make(store: Store, folder: Path, meta: Meta, names: Collection[str]) -> None:
    """Make those of the lent files `names` that are not here; the stored ones are. Raises CorruptSegment,
    ObjectMissing, StoreDown and OSError."""
    if ROWS in names or ATTRIBUTES in names:
        _of_commits(store, folder, meta)
    if INDEX in names or SCAN in names:
        assemble(store, meta.refers, folder, meta.files[INDEX][1])
    if SCAN in names:
        size = meta.files[SCAN][1]
        _made(folder, SCAN, size, lambda path: write_scan(_vectors(folder, meta), hashed=False, path=path))


def write_attributes(folder: Path, meta: Meta, known: Collector) -> None:
    """Make attributes.bin where it is wanted and not here, from what was collected of the segment's rows."""
    if ATTRIBUTES in meta.files:
        _made(folder, ATTRIBUTES, ANY, lambda path: write_table(path, known))


def rows_flaw(store: Store, space: str, listed: Sequence[Piece], digest: str) -> str:
    """What is wrong with the rows in the commits of these batches, which have this hash together; or nothing."""
    found = sha256()
    try:
        for piece in listed:
            found.update(_rows(store, space, piece).rows)
    except CorruptSegment as error:
        return str(error)
    return "" if found.hexdigest() == digest else _OTHER.format(place=layout.batches(space))


_OTHER = "{place} in the store holds other rows than those that were published."


def _of_commits(store: Store, folder: Path, meta: Meta) -> None:
    """rows.bin, and what filters ask of its rows. Memory: a commit for each thread, and the latter."""
    digest, size = meta.files[ROWS]
    path, known = folder / ROWS, Collector()
    _, listed = pieces.load(folder)
    if sum(piece.rows for piece in listed) != meta.vectors:
        raise CorruptSegment(f"{folder.name[:12]}/{PIECES} has other rows than its segment says.")
    places = offsets_of(folder)[[0, *accumulate(piece.rows for piece in listed)]].tolist()
    with alone(folder):
        complete = ATTRIBUTES not in meta.files or (folder / ATTRIBUTES).exists()
        if complete and path.exists() and path.stat().st_size == size:
            return
        with replacing(path, durable=not trust.marked(folder)) as temporary, temporary.open("r+b") as file:

            def one(piece: Piece, start: int, end: int) -> bytes:
                contents = _rows(store, meta.refers, piece)
                if len(contents.rows) != end - start:
                    raise CorruptSegment(_OTHER.format(place=_key(meta.refers, piece)))
                put_at(file.fileno(), memoryview(contents.rows), start)
                return contents.attributes

            with ThreadPoolExecutor(THREADS, thread_name_prefix="rows") as pool:
                for attributes in pool.map(one, listed, places[:-1], places[1:]):
                    known.merge(attributes)
            file.seek(0)
            if file_digest(file, sha256).hexdigest() != digest:
                raise CorruptSegment(_OTHER.format(place=layout.batches(meta.refers)))
    write_attributes(folder, meta, known)


def _vectors(folder: Path, meta: Meta) -> Stored:
    faiss.omp_set_num_threads(1)  # of this thread
    return Stored(folder, meta.vectors, meta.dimensions)


def _made(folder: Path, name: str, size: int, write: Callable[[Path], object]) -> None:
    """Make a file that has its hash beside it. Raises OSError where it cannot be written."""
    path = folder / name
    with alone(folder):
        if path.exists() and pieces.made(path).exists():
            return
        durable = not trust.marked(folder)
        with replacing(path, durable=durable) as temporary:
            try:
                write(temporary)
            except RuntimeError as error:  # what every C++ exception of FAISS becomes
                raise OSError(f"{path} cannot be written: {error}") from error
            if temporary.stat().st_size < size:  # FAISS does not say what happens when it closes a file
                raise OSError(f"{path} cannot be written: it was cut short.")
            with temporary.open("rb") as file, replacing(pieces.made(path), durable=durable) as beside:
                beside.write_text(file_digest(file, sha256).hexdigest())


def _rows(store: Store, space: str, piece: Piece) -> Packed:
    key = _key(space, piece)
    try:
        commit = decode(key, store.get(store.bucket, key).data)
    except CorruptBatch as error:
        raise CorruptSegment(str(error)) from error
    contents = commit.contents
    if commit.vectors != piece.object or not isinstance(contents, Packed):
        raise CorruptSegment(f"{key} is not the commit of the batch that was published.")
    return contents


def _key(space: str, piece: Piece) -> str:
    return layout.batch(space, piece.batch) + layout.ROWS
