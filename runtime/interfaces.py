"""The ports behind a context, as Protocols, and the values that go through them.

Standard library only. Functions import these from `runtime.context`; the real ports live in `runtime.ports`, the
in-memory ones for tests in `runtime.testing`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Document:
    """A text to be indexed that is not an object in the store. `id` defaults to a hash of the text."""

    text: str
    id: str | None = None
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ObjectEvent:
    """An object that came, changed or went: what a bucket trigger hands out. See docs/bucket-functions.md.

    `created` is also an object that was overwritten. What is `removed` has neither etag nor size (bytes). `etag` is of
    the content that was seen: what is read may be newer already. `seq` orders the changes of one key; etags have no
    order.
    """

    bucket: str
    key: str
    event: Literal["created", "removed"] = "created"
    etag: str | None = None
    size: int | None = None
    seq: int | None = None


@dataclass(frozen=True, slots=True)
class Parent:
    """An invocation whose success led to this one, with what it returned."""

    id: str
    function: str
    result: Any


@dataclass(slots=True)  # not frozen: a listing makes millions of them, and a frozen one takes four times as long
class ObjectInfo:
    """What a listing or a HEAD says of an object. `modified` is seconds since the epoch.

    `content_type` and `metadata` are known after a HEAD only.
    """

    bucket: str
    key: str
    etag: str
    size: int
    modified: float
    content_type: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object's bytes with the etag that belongs to exactly these bytes."""

    data: bytes
    etag: str
    content_type: str = ""


class Store(Protocol):
    """The S3 store. Raises ObjectMissing, PreconditionFailed, StoreDown and StoreDenied of `runtime.errors`."""

    bucket: str
    """The bucket that Tundish keeps its own objects in."""

    def get(self, bucket: str, key: str, *, limit: int | None = None) -> StoredObject:
        """Read an object whole; with `limit` (bytes), a larger one raises BadInput instead."""
        ...

    def head(self, bucket: str, key: str) -> ObjectInfo: ...

    def put(
        self,
        bucket: str,
        key: str,
        data: bytes,
        *,
        content_type: str = "application/octet-stream",
        create_only: bool = False,
        if_match: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        """Write an object and return its etag. `create_only` and `if_match` make the PUT conditional.

        `metadata`: lower-case names, printable ASCII, 2 KiB in all (else BadInput); `head` returns it.
        """
        ...

    def put_stream(
        self,
        bucket: str,
        key: str,
        data: BinaryIO,
        length: int | None = None,
        content_type: str = "",
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        """Write an object of any size from a readable, without holding it in memory; returns its etag.

        `length` (bytes), where it is known, saves a small object the upload in parts.
        """
        ...

    def download(self, bucket: str, key: str, file: BinaryIO) -> None:
        """Write an object's bytes to a file, without holding them in memory."""
        ...

    def list(self, bucket: str, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        """Every object under `prefix`, in the order of the server, streamed page by page."""
        ...

    def delete(self, bucket: str, key: str) -> None:
        """Remove an object; removing what is not there is no error."""
        ...

    def abort_uploads(self, bucket: str, older_than: float) -> int:
        """End uploads in parts that began more than `older_than` seconds ago, and free their parts; how many."""
        ...


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


@dataclass(frozen=True, slots=True)
class IndexVersion:
    """One published version of an index. `created` is seconds since the epoch."""

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


class Index(Protocol):
    """The vector indexes: batches in, versions out."""

    def next_seq(self, index: str, count: int = 1) -> int:
        """Reserve `count` sequence numbers and return the first. Reserve before reading what they describe."""
        ...

    def read_batch(self, index: str, batch_id: str) -> tuple[list[Row], Vectors] | None:
        """A committed batch (rows and the vectors of its `put` rows, in order), or None."""
        ...

    def write_batch(self, index: str, batch_id: str, rows: Sequence[Row], vectors: Vectors, model: str) -> str:
        """Write `vectors.npy`, then `rows.msgpack` (the commit), once. Returns the batch's path in the store."""
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
    """The embedding model of this process, loaded at first use."""

    @property
    def name(self) -> str:
        """Identity of weights, tokenizer and pooling: part of every batch's id."""
        ...

    @property
    def dimensions(self) -> int: ...

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, float32, shape (len(texts), dimensions)."""
        ...

    def tokenize(self, text: str) -> list[tuple[int, int]]:
        """Character offsets (start, end) of every token of `text`, without special tokens."""
        ...


class Suspended(BaseException):
    """The attempt ends here because its children are out; the function is run again when they have ended.

    It is no Exception, so that `except Exception` in a function lets it pass.
    """

    def __init__(self, fan: str) -> None:
        self.fan = fan
        super().__init__(fan)


class Calls(Protocol):
    """Invoking other functions. Options: priority, tenant, delay, expires, deadline, chain."""

    def submit(self, function: str, arguments: Mapping[str, Any], **options: Any) -> str: ...

    def gather(
        self, calls: Iterable[tuple[str, Mapping[str, Any]]], in_flight: int, **options: Any
    ) -> list[tuple[str, Any]]:
        """(state, result or error) of each call, in order, once all have ended."""
        ...

    def join(self, ids: Sequence[str]) -> list[tuple[str, Any]]:
        """The same for invocations that were submitted before."""
        ...


class Ports(Protocol):
    """Where a context gets its ports from; each is made when it is first asked for."""

    @property
    def store(self) -> Store: ...
    @property
    def index(self) -> Index: ...
    @property
    def models(self) -> Models: ...
    @property
    def calls(self) -> Calls: ...
