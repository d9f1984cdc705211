"""What a function receives: its `context`, the ports behind it, and the types of their answers.

Standard library only, so that a function's module costs nothing to import. A port is a Protocol; the real
ones live in `runtime.ports`, the in-memory ones for tests in `runtime.testing`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

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
    """An object that came, changed or went. `seq` orders the changes of one key; etags have no order."""

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


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a listing or a HEAD says of an object. `modified` is seconds since the epoch."""

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
    ) -> str:
        """Write an object and return its etag. `create_only` and `if_match` make the PUT conditional."""
        ...

    def list(self, bucket: str, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        """Every object under `prefix`, in the order of the server, streamed page by page."""
        ...

    def delete(self, bucket: str, key: str) -> None:
        """Remove an object; removing what is not there is no error."""
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

    def build(self, index: str) -> BuildReport:
        """Publish a version that holds every committed batch, if there is anything new."""
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


class Calls(Protocol):
    """Invoking other functions."""

    def submit(self, function: str, arguments: Mapping[str, Any], *, chain: bool = True) -> str: ...

    def wait(self, ids: Iterable[str], timeout: float | None = None) -> dict[str, Any]:
        """Results by id. Raises CallFailed when one of them did not succeed."""
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


@dataclass(slots=True)
class Context:
    """One attempt of one invocation, as the function sees it."""

    id: str
    function: str
    ports: Ports
    attempt: int = 1
    tenant: str = "default"
    trigger: str = "http"
    root_id: str = ""
    parents: tuple[Parent, ...] = ()
    deadline: float | None = None
    """When the attempt is stopped, in seconds since the epoch; None without a time limit."""
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("tundish.function"))

    @property
    def store(self) -> Store:
        return self.ports.store

    @property
    def index(self) -> Index:
        return self.ports.index

    @property
    def models(self) -> Models:
        return self.ports.models

    def time_left(self) -> float | None:
        """Seconds until the deadline, or None."""
        return None if self.deadline is None else max(0.0, self.deadline - time.time())

    def submit(self, function: str, /, *, chain: bool = True, **arguments: Any) -> str:
        """Invoke another function and return the invocation's id at once. `chain=False` leaves out its on_success."""
        return self.ports.calls.submit(function, arguments, chain=chain)

    def call(self, function: str, /, *, chain: bool = True, **arguments: Any) -> Any:
        """Invoke another function and wait for its result. Raises CallFailed."""
        task = self.submit(function, chain=chain, **arguments)
        return self.ports.calls.wait([task], self.time_left())[task]

    def map(
        self, function: str, items: Iterable[Mapping[str, Any]], *, in_flight: int = 8, chain: bool = True
    ) -> Iterator[Any]:
        """Invoke a function once per item, at most `in_flight` at a time; results come in the items' order."""
        pending: list[str] = []
        for item in items:
            if len(pending) >= in_flight:
                first = pending.pop(0)
                yield self.ports.calls.wait([first], self.time_left())[first]
            pending.append(self.ports.calls.submit(function, item, chain=chain))
        for task in pending:
            yield self.ports.calls.wait([task], self.time_left())[task]
