"""The ports to the vector indexes and the embedding models, as a function sees them.

Standard library only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

Progress = Callable[[float, float | None, str], None]
"""Hears of what is done, of how much in all (None: nobody knows), and a word for it."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a batch: a chunk of a document (`put`), or the word that a document is gone (`delete`)."""

    bucket: str
    key: str
    etag: str
    seq: int
    op: Literal["put", "delete"] = "put"
    tenant: str = "default"
    chunk: int = 0
    start: int = 0
    end: int = 0
    text: str = ""
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class IndexModel:
    """Which model an index is made with: the identity, empty where it has no vectors yet.

    `native` is the one that it was made with at first: part of the name of every batch, so that a batch has the same
    name whichever model's vectors it holds.
    """

    name: str = ""
    native: str = ""


@dataclass(frozen=True, slots=True)
class Migration:
    """How far an index is on its way to the model `model`: `done` of `total` batches are embedded.

    `state`: `running` (call it again), `done` (it answers from `generation` on), or `cancelled`. `damaged` names the
    batches that could not be read.
    """

    index: str
    model: str
    state: str
    done: int = 0
    total: int = 0
    generation: int = 0
    damaged: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What a build did. `generation` 0 means that there is no index yet."""

    index: str
    generation: int
    version: str
    published: bool
    vectors: int
    documents: int
    batches: int
    warnings: tuple[str, ...] = ()
    late: int = 0
    """Batches that came in another model's vectors: a call of `Index.migrate` embeds them again."""
    crowded: bool = False
    """It has so many segments, or so much that is dead in them, that `Index.compact` should be called, and the caller
    is the one to do it."""


@dataclass(frozen=True, slots=True)
class CompactReport:
    """What a compaction did: `merged` segments became one, and the version has `segments` now. `note` says why nothing
    was published."""

    index: str
    generation: int
    version: str
    published: bool
    merged: int
    segments: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class IndexVersion:
    """One published version of an index. `created` is seconds since the epoch. `held`: nothing is built on it before
    it is released. `restores`: the generation whose content it has again, after a rollback."""

    index: str
    generation: int
    version: str
    vectors: int
    documents: int
    dimensions: int
    bytes: int
    created: float
    kind: str
    model: str
    held: bool = False
    restores: int | None = None


@dataclass(frozen=True, slots=True)
class Chunking:
    """How texts are cut: `tokens` of a chunk at most, and how many of them it repeats of the one before."""

    tokens: int = 254
    overlap: int = 32


@dataclass(frozen=True, slots=True)
class Extraction:
    """How the documents of an index are read: at most `pages` of each, `seconds` of work, and `memory` bytes for it.

    `ocr`: the languages (in Tesseract's words: deu, eng) in which pictures are read; None are the usual ones, as far
    as they are installed, and no language switches it off.
    """

    ocr: tuple[str, ...] | None = None
    pages: int = 10_000
    seconds: float = 30.0
    memory: int = 2**30


@dataclass(frozen=True, slots=True)
class Kept:
    """Documents as one batch has them; `vectors[i]` belongs to the i-th of `rows` that puts something.

    `made`: by what the rows were cut from their documents, in the words of who wrote them; empty where nobody said.
    """

    batch: str
    made: str
    rows: list[Row]
    vectors: Vectors
    backends: tuple[str, ...] = ()
    """Which back ends of the model have made the batch's vectors."""


class Index(Protocol):
    """The vector indexes: batches in, versions out."""

    def next_seq(self, index: str, count: int = 1) -> int:
        """Reserve `count` sequence numbers and return the first. Reserve before reading what they describe."""
        ...

    def model(self, index: str) -> IndexModel:
        """Which model the newest version is made with; new batches should be of the same."""
        ...

    def read_batch(self, index: str, batch_id: str, model: str = "") -> tuple[list[Row], Vectors] | None:
        """A committed batch (rows and the vectors of its `put` rows, in order), or None. `model`: in whose vectors
        (empty: the index's)."""
        ...

    def write_batch(
        self,
        index: str,
        batch_id: str,
        rows: Sequence[Row],
        vectors: Vectors,
        model: str,
        made: str = "",
        backends: Sequence[str] = (),
    ) -> str:
        """Write `vectors.npy`, then `rows.msgpack` (the commit), once. Returns the batch's path in the store.

        `made` says by what the rows were cut from their documents; `kept` tells it again. `backends`: which back ends
        of the model have made the vectors; a version of the index names those of all its batches.
        """
        ...

    def chunking(self, index: str) -> Chunking:
        """How texts are cut for this index."""
        ...

    def extraction(self, index: str) -> Extraction:
        """How documents of this index are read."""
        ...

    def kept(self, index: str, documents: Sequence[tuple[str, str, str]], model: str) -> Iterator[Kept]:
        """What the index holds of documents (bucket, key, etag) that spares embedding them, in the vectors of `model`:
        the newest version of each, whatever its etag, and other documents of the same etag.

        What cannot be read is left out, and what was not built yet: it is an offer, no truth.
        """
        ...

    def migrate(
        self, index: str, models: Models, *, run: str, task: str, stop: Callable[[], bool], report: Progress
    ) -> Migration:
        """Bring an index to another model, or to its own what came in another one's vectors, until `stop` says so.

        `run` names all calls of one migration, `task` this one of them; `report` hears of progress.
        """
        ...

    def move(
        self, index: str, engine: str, *, recall: float, run: str, task: str, stop: Callable[[], bool], report: Progress
    ) -> Migration:
        """Bring an index to another engine from its stored batches, until `stop` says so.

        The old engine answers until the new one holds as much, and finds as many of the ten nearest as `recall` says.
        """
        ...

    def text_versions(self, index: str, ids: Sequence[str]) -> dict[str, tuple[str, int]]:
        """The newest written version, (etag, seq), of documents by id: `bucket/key`, or `/id` of a text."""
        ...

    def set_text_versions(self, index: str, versions: Mapping[str, tuple[str, int]]) -> None:
        """Note the newest versions, (etag, seq) by id; an entry with a higher seq stays."""
        ...

    def build(self, index: str, batches: Sequence[str] = ()) -> BuildReport:
        """Publish a version that holds every committed batch, if there is anything new.

        Who knows which `batches` are new names them: these are published without looking through all.
        """
        ...

    def compact(self, index: str) -> CompactReport:
        """Merge segments into one, where there are many or much of them is dead. Builds go on meanwhile."""
        ...

    def announce(self, index: str, generation: int | None = None) -> tuple[IndexVersion | None, int]:
        """Tell every reader of the newest (or the named) version; returns it and how many listened."""
        ...

    def current(self, index: str) -> IndexVersion | None: ...

    def versions(self, index: str) -> list[IndexVersion]:
        """Every version whose manifest is still stored, newest first."""
        ...

    def names(self) -> list[str]:
        """The indexes that have at least one batch or version."""
        ...

    def cleanup(self, index: str, older_than: float) -> dict[str, int]:
        """Remove what no kept version needs and is older than `older_than` seconds; counts by kind."""
        ...


class Models(Protocol):
    """An embedding model of this process, loaded at first use: the default one, or what `get` gives."""

    def get(self, name: str) -> Models:
        """The model that functions.yaml names so, or whose identity this is. Raises BadInput."""
        ...

    @property
    def name(self) -> str:
        """Identity of weights, tokenizer and pooling: part of every batch's id."""
        ...

    @property
    def backend(self) -> str:
        """What runs it in this process: `torch-fp32`, `torch-bf16` and so on. Their vectors differ by rounding."""
        ...

    @property
    def dimensions(self) -> int: ...

    @property
    def longest(self) -> int:
        """Tokens of a text that it reads, two of its own among them; what comes behind is not in the vector."""
        ...

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, float32, shape (len(texts), dimensions)."""
        ...

    def tokenize(self, text: str) -> list[tuple[int, int]]:
        """Character offsets (start, end) of every token of `text`, without special tokens."""
        ...
