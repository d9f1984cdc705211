"""Arguments and results that are too large for a record: they travel by reference to the store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO, Protocol

import msgpack

from runtime.config.settings import Function
from runtime.errors import ObjectMissing, StoreDenied, StoreDown
from runtime.invocations import record
from runtime.invocations.submit import Call, new_id

if TYPE_CHECKING:
    from runtime.context import Store

ARGUMENTS_LIMIT = 64 * 2**10
"""Bytes of packed arguments that a record holds itself."""

RESULT_LIMIT = 256 * 2**10
"""Bytes of JSON that a record holds itself as its result."""


class Blobs(Protocol):
    """Named bytes. Writing raises StoreDown and StoreDenied, reading ObjectMissing besides."""

    def put(self, name: str, data: bytes) -> None: ...
    def get(self, name: str) -> bytes: ...

    def put_file(self, name: str, data: BinaryIO, size: int | None, content_type: str) -> int:
        """Write what `data` has, a part at a time; its size in bytes."""
        ...

    def fetch(self, name: str, file: BinaryIO) -> None:
        """Write the bytes to an open file, without holding them in memory."""
        ...


class StoreBlobs:
    """Blobs in the store's own bucket; the store is made at the first use."""

    def __init__(self, store: Callable[[], Store]) -> None:
        self._store = store

    def put(self, name: str, data: bytes) -> None:
        store = self._store()
        store.put(store.bucket, name, data)

    def get(self, name: str) -> bytes:
        store = self._store()
        return store.get(store.bucket, name).data

    def put_file(self, name: str, data: BinaryIO, size: int | None, content_type: str) -> int:
        store = self._store()
        counted = _Counted(data)
        store.put_stream(store.bucket, name, counted, size, content_type)  # type: ignore[arg-type]
        return counted.size

    def fetch(self, name: str, file: BinaryIO) -> None:
        store = self._store()
        store.download(store.bucket, name, file)


class _Counted:
    """A readable that knows how much was read."""

    def __init__(self, data: BinaryIO) -> None:
        self._data, self.size = data, 0

    def read(self, size: int = -1, /) -> bytes:
        data = self._data.read(size)
        self.size += len(data)
        return data


def result_name(task_id: str) -> str:
    return f"results/{task_id}"


def arguments_name(task_id: str) -> str:
    return f"arguments/{task_id}"


def by_reference(call: Call, blobs: Blobs, spec: Function | None = None) -> Call:
    """The call with its arguments in the store, where they are too large for a record.

    They stay where they are when there is no store or it is away (a call is worth more than a lean record), and
    where the function's concurrency key is one of them.
    """
    if spec and spec.concurrency_key:
        return call
    packed = msgpack.packb(dict(record.plain(call.arguments, call.trigger)), use_bin_type=True)
    if len(packed) <= ARGUMENTS_LIMIT:
        return call
    task_id = call.id or new_id()
    try:
        blobs.put(arguments_name(task_id), packed)
    except (StoreDown, StoreDenied, ObjectMissing):  # no store, or one without our bucket
        return call
    return replace(call, id=task_id, arguments={}, arguments_ref=arguments_name(task_id))
