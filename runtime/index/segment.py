"""A segment: an immutable part of an index. A folder of files that are mapped, never loaded.

| file | content |
|---|---|
| index.faiss | the vectors; row i of the segment is vector i |
| scan.faiss | their compact form (kinds.py), where there are enough of them |
| rows.bin, offsets.npy | row i is the msgpack list between offsets i and i+1 (uint64, n+1 of them) |
| attributes.bin | the rows of each bucket, type, key … (attributes.py), where there are enough rows |
| lexical.tar | the words of the chunks' texts (lexical_file.py), where functions.yaml asks for them |
| docs.npy | the table of documents (docs.py); rows of a document are neighbours |
| batches.npy | the batches that it was made of (included.py) |
| pieces.msgpack, own.npy | instead of index.faiss in the store, where its vectors are in batches (pieces.py) |
| scan.faiss.sha256, attributes.bin.sha256 | of what this host has made, where all of it is in batches (whole.py) |
| meta.json | counts, hashes of the other files; its own sha256 names the segment |
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

import faiss
import msgpack
import numpy as np
from numpy.typing import NDArray

from runtime.errors import CorruptSegment
from runtime.index import layout, lexical, npy, pieces, vector_file
from runtime.index.attributes import ATTRIBUTES, Attributes
from runtime.index.docs import DELETE, DOCS, Bits, Docs, Positions, Vectors
from runtime.index.kinds import Compact
from runtime.index.lexical_file import LEXICAL

META, INDEX, SCAN = layout.META, vector_file.INDEX, vector_file.SCAN
_FILE = re.compile(r"\w[\w.-]*", re.ASCII)
ROWS, OFFSETS, TABLE = "rows.bin", "offsets.npy", "docs.npy"
ANY = -1
FEW = 4096
"""Rows of a selection that are scored exactly at once."""

ROW_FIELDS = ("bucket", "key", "etag", "seq", "tenant", "chunk", "start", "end", "text", "meta")


@dataclass(frozen=True, slots=True)
class Meta:
    """What a segment says of itself. `batches` are (id, etag of the commit); `files` are name → (sha256, bytes), where
    ANY is a number of bytes that only who makes the file knows."""

    dimensions: int
    vectors: int
    documents: int
    model: str
    faiss: str
    created: float
    builder: str
    max_seq: int
    batches: list[tuple[str, str]]
    files: dict[str, tuple[str, int]]
    kind: str = "flat"
    refers: str = ""
    """Whose batches (layout.space) hold its vectors; empty where it has them itself."""
    whole: bool = False
    """Whether it is made of whole batches, which have its rows, too (whole.py)."""

    @property
    def bytes(self) -> int:
        return sum(max(size, 0) for _, size in self.files.values())

    @property
    def lent(self) -> list[str]:
        """The files that are not in the store: each host makes them of what is."""
        if not self.refers:
            return []
        return [name for name in (ROWS, ATTRIBUTES, INDEX, SCAN) if name in self.files] if self.whole else [INDEX]

    @property
    def stored(self) -> list[str]:
        """The files that are in the store under its own name."""
        lent = self.lent
        return [name for name in self.files if name not in lent]

    @property
    def usable(self) -> bool:
        """FAISS files are not always portable: minor releases changed them before."""
        return _release(self.faiss) == _release(faiss.__version__)


def encode_meta(meta: Meta) -> bytes:
    """Format 2 where it refers to batches for its vectors, 3 for its rows as well: earlier releases cannot follow and
    refuse it."""
    told = {"format": 3 if meta.whole else 2 if meta.refers else 1, **asdict(meta)}
    if not meta.refers:  # as earlier releases write it
        del told["refers"]
    if not meta.whole:
        del told["whole"]
    return json.dumps(told, sort_keys=True, indent=1).encode()


def decode_meta(name: str, data: bytes) -> Meta:
    """Raises CorruptSegment unless `data` is what the segment is named after, and of files beside it alone."""
    if sha256(data).hexdigest() != layout.digest(name):
        raise CorruptSegment(f"Segment {name[:12]}: {META} does not match its hash.")
    fields: dict[str, Any] = json.loads(data)
    if (form := fields.pop("format")) not in (1, 2, 3):
        raise CorruptSegment(f"Segment {name[:12]} has format {form}; this release reads 1, 2 and 3.")
    fields["batches"] = [(batch_id, etag) for batch_id, etag in fields["batches"]]
    fields["files"] = {name: (digest, size) for name, (digest, size) in fields["files"].items()}
    if strange := [file for file in fields["files"] if file == META or not _FILE.fullmatch(file)]:
        raise CorruptSegment(f"Segment {name[:12]}: {META} names {strange[0]!r}, which is no file of a segment.")
    return Meta(**{name: value for name, value in fields.items() if name in Meta.__dataclass_fields__})


def digests(folder: Path, names: list[str]) -> dict[str, tuple[str, int]]:
    """The sha256 and the size of each file. Reading them also brings them into the page cache."""
    found = {}
    for name in names:
        with (folder / name).open("rb") as file:
            digest = file_digest(file, partial(pieces.hashing, folder / name)).hexdigest()
            found[name] = (digest, file.tell())
    return found


def offsets_of(folder: Path) -> NDArray[np.uint64]:
    """Where each row begins in rows.bin, and where the last one ends; mapped read-only."""
    try:
        return npy.mapped(folder / OFFSETS, np.dtype(np.uint64))
    except ValueError as error:
        raise CorruptSegment(f"Segment {folder.name[:12]}: {OFFSETS} cannot be read: {error}.") from error


def load_docs(folder: Path) -> Docs:
    """The table of documents, mapped read-only."""
    try:
        return npy.mapped(folder / TABLE, DOCS)
    except ValueError as error:
        raise CorruptSegment(f"Segment {folder.name[:12]}: {TABLE} cannot be read: {error}.") from error


class Segment:
    """An opened segment. Searching is safe from many threads; nothing is ever changed."""

    def __init__(self, folder: Path, sha: str, meta: Meta) -> None:
        if not meta.usable:
            raise CorruptSegment(
                f"Segment {sha[:12]} was written by FAISS {meta.faiss}; this is {faiss.__version__}. "
                "Run build_index: it builds the index anew from the stored batches."
            )
        self.sha, self.meta = sha, meta
        self.docs = load_docs(folder)
        self._offsets = offsets_of(folder)
        self._rows = npy.octets(folder / ROWS).data
        attributes = folder / ATTRIBUTES if ATTRIBUTES in meta.files else None
        self.attributes = Attributes(attributes, self._rows, meta.vectors)
        try:
            # Any: what faiss says of its types leaves out what its Python layer adds.
            self._index: Any = faiss.read_index(str(folder / INDEX), faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError as error:  # what every C++ exception of FAISS becomes
            raise CorruptSegment(f"Segment {sha[:12]}: FAISS cannot read {INDEX}: {error}") from error
        self._check()
        self._all = self._vectors()
        self._scan = Compact(folder / SCAN, meta.vectors, meta.dimensions) if SCAN in meta.files else None
        archive = meta.files.get(LEXICAL)
        self.lexical = lexical.opened(folder, archive[0], meta.vectors) if archive else None

    def __len__(self) -> int:
        return self.meta.vectors

    def row(self, position: int) -> bytes:
        return bytes(self._rows[int(self._offsets[position]) : int(self._offsets[position + 1])])

    def fields(self, position: int) -> dict[str, Any]:
        """A row by the names of ROW_FIELDS."""
        return dict(zip(ROW_FIELDS, msgpack.unpackb(self.row(position)), strict=True))

    def vectors(self, positions: Positions) -> Vectors:
        """Copies of these vectors, shape (len(positions), dimensions)."""
        return np.ascontiguousarray(self._all[positions])

    def search(
        self, queries: Vectors, k: int, allowed: Bits | None = None, *, exact: bool = False
    ) -> list[tuple[Vectors, Positions]]:
        """For each query, shape (n, dimensions): scores and row numbers of the best `k` rows, best first.

        `allowed`: only these rows are looked at. `exact`: by an exact scan, whatever the segment's kind.
        """
        count = len(self) if allowed is None else int(np.bitwise_count(allowed).sum(dtype=np.int64))
        k = min(k, count)
        if not k:
            return [(np.empty(0, np.float32), np.empty(0, np.int64))] * len(queries)
        # FAISS keeps a pointer, not a reference: `allowed` lives until this returns.
        selector = None if allowed is None else faiss.IDSelectorBitmap(len(allowed), faiss.swig_ptr(allowed))
        found: dict[int, tuple[Vectors, Positions]] = {}
        if self._scan and not exact and count > FEW:
            for number, scores, rows in self._scan.candidates(queries, k, self._all, count, selector):
                found[number] = scores, rows
        rest = [number for number in range(len(queries)) if number not in found]
        if rest:
            make: Any = faiss.SearchParameters
            parameters = make(sel=selector) if selector is not None else None
            scores, rows = self._index.search(queries[rest], k, params=parameters)
            found.update({number: (scores[place], rows[place]) for place, number in enumerate(rest)})
        return [found[number] for number in range(len(queries))]

    def _vectors(self) -> Vectors:
        """All of them where they are mapped; the array is as alive as the index."""
        shape = (len(self), self.meta.dimensions)
        if not len(self):
            return np.empty(shape, np.float32)
        flat: Vectors = faiss.rev_swig_ptr(self._index.get_xb(), shape[0] * shape[1])
        return flat.reshape(shape)

    def _check(self) -> None:
        """The parts agree with each other. Their hashes are checked when they are fetched."""
        count = len(self)
        held = int(self.docs["count"].sum(dtype=np.int64)) if len(self.docs) else 0
        deletes = self.docs["op"] == DELETE
        facts = {
            "vectors": self._index.ntotal == count,
            "dimensions": not count or self._index.d == self.meta.dimensions,
            "offsets": len(self._offsets) == count + 1 and int(self._offsets[-1]) == len(self._rows),
            "documents": len(self.docs) == self.meta.documents
            and held == count
            and not self.docs["count"][deletes].any(),
        }
        wrong = [name for name, right in facts.items() if not right]
        if wrong:
            raise CorruptSegment(f"Segment {self.sha[:12]}: the {', '.join(wrong)} do not agree with {META}.")


def _release(version: str) -> list[str]:
    return version.split(".")[:2]
