"""The ports behind a context, as Protocols, and the values that go through them.

Standard library only. Functions import these from `runtime.context`; the real ports live in `runtime.attempts.ports`,
the in-memory ones for tests in `runtime.testing`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Literal, Protocol

from runtime.interfaces_index import Index, Models


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
    """An invocation whose end led to this one, with what it returned, or what is recorded of its error."""

    id: str
    function: str
    result: Any
    state: str = "succeeded"
    """`failed` or `dead` where this one is its `on_failure`."""


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
    """An object's bytes with the etag that belongs to exactly these bytes, and what a HEAD would have said of them."""

    data: bytes
    etag: str
    content_type: str = ""
    modified: float = 0.0
    """When it was stored, in seconds since the epoch."""
    metadata: Mapping[str, str] = field(default_factory=dict)


class Store(Protocol):
    """The S3 store. Raises ObjectMissing, PreconditionFailed, StoreDown and StoreDenied of `runtime.errors`."""

    bucket: str
    """The bucket that Tundish keeps its own objects in."""

    def get(self, bucket: str, key: str, *, limit: int | None = None) -> StoredObject:
        """Read an object whole; with `limit` (bytes), a larger one raises BadInput instead."""
        ...

    def get_many(self, bucket: str, keys: Sequence[str], *, limit: int) -> list[StoredObject | None]:
        """Read several small objects whole, in one trip where the store allows it, in the order of `keys`.

        None stands for one that is not there, or has more than `limit` bytes.
        """
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

    def delete(self, bucket: str, key: str, *, if_match: str | None = None) -> None:
        """Remove an object; removing what is not there is no error.

        With `if_match` (an etag) only while it is that content; a server that knows no conditional DELETE is asked for
        its etag right before. Raises PreconditionFailed.
        """
        ...

    def abort_uploads(self, bucket: str, older_than: float) -> int:
        """End uploads in parts that began more than `older_than` seconds ago, and free their parts; how many."""
        ...

    def connection(self) -> Mapping[str, str]:
        """For a library with an S3 client of its own: `endpoint` (a URL), `access_key`, `secret_key`, `region`."""
        ...


class Suspended(BaseException):
    """The attempt ends here because its children are out; the function is run again when they have ended.

    It is no Exception, so that `except Exception` in a function lets it pass.
    """

    def __init__(self, fan: str) -> None:
        self.fan = fan
        super().__init__(fan)


@dataclass(frozen=True, slots=True)
class Far:
    """How far a caller is before a map (`done` of `total`), and by how much each call of it adds to that at its end."""

    done: float
    total: float | None
    message: str
    amounts: Sequence[float]


class Calls(Protocol):
    """Invoking other functions. Options: priority, tenant, delay, expires, deadline, chain."""

    def submit(self, function: str, arguments: Mapping[str, Any], **options: Any) -> str: ...

    def gather(
        self, calls: Iterable[tuple[str, Mapping[str, Any]]], in_flight: int, **options: Any
    ) -> list[tuple[str, Any]]:
        """(state, result or error) of each call, in order, once all have ended.

        The option `far` (a Far) lets the caller's progress go on while they work.
        """
        ...

    def join(self, ids: Sequence[str]) -> list[tuple[str, Any]]:
        """The same for invocations that were submitted before."""
        ...


class Documents(Protocol):
    """What is recorded of the objects that bucket triggers hand out."""

    def clear_failed(self, before: float, delete: bool) -> dict[str, int]:
        """Let the records of objects leave that failed before a time (seconds since the epoch); with `delete` the
        objects, too, where they are still what failed. Returns `failed_documents` and `failed_objects`.

        An object that stays is not tried again until it changes or is replayed. Raises BrokerDown and StoreDown.
        """
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
    @property
    def documents(self) -> Documents: ...
