"""Vectors that are in the store already, in batches: a segment says which rows of which objects its own are.

| file | content |
|---|---|
| pieces.msgpack | every piece of index.faiss, in the order of the rows (`Piece`) |
| own.npy | the rows that are in no batch that is worth being referred to: of small batches, of those mostly dead |

Where a segment has these files, index.faiss is not in the store. It is put together from them when the segment is
fetched (assemble.py), and its hash in meta.json is that of pieces.msgpack: it is what it should be where each piece
has the hash that is given for it there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import msgpack
import numpy as np
from numpy.typing import NDArray

from runtime.errors import CorruptSegment
from runtime.index.vector_file import HEADER_BYTES, INDEX, header, npy_header

PIECES, OWN, MADE = "pieces.msgpack", "own.npy", ".sha256"
LEAST_BYTES = 2**16
"""Of a piece, on average over its object: reading a smaller one takes the store as long as taking it once more."""

LEAST_SEGMENT = 2**20
"""Bytes of vectors below which a segment has them itself: it is one object then, read in one trip (pack.py)."""

MOST = 20_000
"""Pieces of a segment."""


class Piece(NamedTuple):
    """`rows` rows from row `first` on, of an object with `of` rows: a batch's vectors, or where `batch` is empty the
    segment's own. `object` is the sha256 of it, `digest` that of the .npy file of just these rows; empty where nobody
    knows it yet."""

    batch: str
    object: str
    of: int
    first: int
    rows: int
    digest: str


def whole(batch: str, digest: str, rows: int) -> Piece:
    """All rows of a batch; without a name or a hash, rows that are in no batch."""
    return Piece(batch, digest, rows, 0, rows, digest) if batch and digest else Piece("", "", 0, 0, rows, "")


def kept(pieces: Iterable[Piece], keep: NDArray[np.bool_]) -> Iterator[Piece]:
    """What is left of pieces where only some of their rows are kept."""
    start = 0
    for piece in pieces:
        mine = keep[start : start + piece.rows]
        start += piece.rows
        if mine.all():
            yield piece
            continue
        borders = np.flatnonzero(np.diff(mine, prepend=False, append=False)).tolist()
        for begin, end in zip(borders[::2], borders[1::2], strict=True):
            yield piece._replace(first=piece.first + begin, rows=end - begin, digest="")


def chosen(pieces: Sequence[Piece], dimensions: int) -> list[Piece]:
    """Those worth being referred to as they are, the others as rows of the segment's own. Empty where a segment had
    better have all of its vectors itself."""
    parts: dict[tuple[str, str], list[int]] = {}
    for piece in pieces:
        parts.setdefault(piece[:2], []).append(piece.rows)
    bad = {name for name, rows in parts.items() if sum(rows) * dimensions * 4 < LEAST_BYTES * len(rows)}
    made: list[Piece] = []
    for own, group in groupby(pieces, lambda piece: not piece.batch or piece[:2] in bad):
        members = list(group)
        made += [Piece("", "", 0, 0, sum(piece.rows for piece in members), "")] if own else members
    referred = sum(piece.rows for piece in made if piece.batch)
    enough = 2 * referred >= sum(piece.rows for piece in made)
    return made if enough and referred * dimensions * 4 >= LEAST_SEGMENT and len(made) <= MOST else []


def _tell(folder: Path, pieces: Sequence[Piece], dimensions: int) -> None:
    """Write the list of pieces, each with its hash."""
    packed = msgpack.packb({"format": 1, "dimensions": dimensions, "pieces": [list(piece) for piece in pieces]})
    (folder / PIECES).write_bytes(packed)


def write(folder: Path, pieces: Sequence[Piece], dimensions: int, *, whole: bool = False) -> list[str]:
    """Write what the store needs of index.faiss, which is complete; the names of the files. `whole`: there is no such
    file, and every piece is all of a batch."""
    if whole:
        _tell(folder, pieces, dimensions)
        return [PIECES]
    own = sum(piece.rows for piece in pieces if not piece.batch)
    done, told = 0, []
    names = [PIECES, OWN] if own else [PIECES]
    with (folder / INDEX).open("rb") as vectors, (folder / OWN).open("wb") as mine:
        mine.write(npy_header(dimensions, own))
        vectors.seek(HEADER_BYTES)
        for piece in pieces:
            if piece.digest:
                vectors.seek(piece.rows * dimensions * 4, 1)
                told.append(piece)
                continue
            digest = sha256(npy_header(dimensions, piece.rows))
            for block in _blocks(piece.rows * dimensions * 4):
                data = vectors.read(block)
                digest.update(data)
                if not piece.batch:
                    mine.write(data)
            first = piece.first if piece.batch else done
            done += 0 if piece.batch else piece.rows
            told.append(piece._replace(first=first, digest=digest.hexdigest()))
    if not own:
        (folder / OWN).unlink()
    _tell(folder, told, dimensions)
    return names


def decode(name: str, data: bytes) -> tuple[int, list[Piece]]:
    """Dimensions and pieces. Raises CorruptSegment; `name` is that of the file."""
    try:
        told = msgpack.unpackb(data)
        if told["format"] != 1:
            raise ValueError(f"it has format {told['format']}")
        return int(told["dimensions"]), [Piece(*piece) for piece in told["pieces"]]
    except (ValueError, TypeError, KeyError, msgpack.UnpackException) as error:
        raise CorruptSegment(f"{name} cannot be read: {error or type(error).__name__}.") from error


def load(folder: Path) -> tuple[int, list[Piece]]:
    """Those of a segment that is here. Raises CorruptSegment and FileNotFoundError."""
    return decode(f"{folder.name[:12]}/{PIECES}", (folder / PIECES).read_bytes())


def objects(pieces: Iterable[Piece]) -> dict[tuple[str, str], list[Piece]]:
    """The pieces of each batch, by its name and the sha256 of its vectors."""
    found: dict[tuple[str, str], list[Piece]] = {}
    for piece in pieces:
        if piece.batch:
            found.setdefault((piece.batch, piece.object), []).append(piece)
    return found


def rebuilt(folder: Path, dimensions: int, pieces: Sequence[Piece], batch: str) -> bytes:
    """The object of a batch's vectors, as far as they are in the index.faiss that is here, which has these pieces."""
    at, found = HEADER_BYTES, {}
    with (folder / INDEX).open("rb") as file:
        for piece in pieces:
            size = piece.rows * dimensions * 4
            if piece.batch == batch:
                file.seek(at)
                found[piece.first] = file.read(size)
            at += size
    rows = sum(map(len, found.values())) // (dimensions * 4)
    return npy_header(dimensions, rows) + b"".join(found[first] for first in sorted(found))


def hashing(path: Path) -> Any:
    """What takes the bytes of a segment's file, from its beginning on, and has its hash then (`hexdigest`)."""
    if path.name == INDEX and (path.parent / PIECES).exists():
        return Checked(path.parent)
    return Derived(path) if made(path).exists() else sha256()


def made(path: Path) -> Path:
    """Where the hash of a file is that was made on this host (whole.py)."""
    return path.with_name(path.name + MADE)


class Checked:
    """Takes the bytes of index.faiss and looks at each piece. Its hash is that of the list of these, if all is well."""

    def __init__(self, folder: Path) -> None:
        data = (folder / PIECES).read_bytes()
        self._digest, self._good = sha256(data).hexdigest(), True
        try:
            self._dimensions, pieces = decode(PIECES, data)
        except CorruptSegment:
            self._dimensions, pieces, self._good = 1, [], False
        head = header(self._dimensions, sum(piece.rows for piece in pieces))
        self._rest = iter([(HEADER_BYTES, sha256(), sha256(head).hexdigest()), *map(self._begun, pieces)])
        self._left, self._hash, self._wanted = next(self._rest)

    def _begun(self, piece: Piece) -> tuple[int, Any, str]:
        return (
            piece.rows * self._dimensions * 4,
            sha256(npy_header(self._dimensions, piece.rows)),
            piece.digest,
        )

    def update(self, data: Any) -> None:
        view = memoryview(data).cast("B")
        while len(view):
            if not self._left and not self._next():
                self._good = False  # there is more than there should be
                return
            mine = view[: self._left]
            self._hash.update(mine)
            self._left -= len(mine)
            view = view[len(mine) :]

    def _next(self) -> bool:
        self._good = self._good and not self._left and self._hash.hexdigest() == self._wanted
        following = next(self._rest, None)
        if following:
            self._left, self._hash, self._wanted = following
        return following is not None

    def hexdigest(self) -> str:
        """Empty where a piece is not what it should be, or is missing. Nothing can be added any more."""
        return "" if self._next() or not self._good else self._digest


class Derived:
    """Takes the bytes of a file that was made on this host and has its hash in a file beside it. What it was made of
    is what it stands for: its hash is that of the list of pieces, if it is as it was made."""

    def __init__(self, path: Path) -> None:
        self._path, self._hash = path, sha256()

    def update(self, data: Any) -> None:
        self._hash.update(data)

    def hexdigest(self) -> str:
        good = made(self._path).read_text() == self._hash.hexdigest()
        return sha256(self._path.with_name(PIECES).read_bytes()).hexdigest() if good else ""


def _blocks(size: int) -> Iterator[int]:
    return (min(LEAST_SEGMENT, size - start) for start in range(0, size, LEAST_SEGMENT))
