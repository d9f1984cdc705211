"""Arguments and results that are too large for a record: they travel by reference to the store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import msgpack

from runtime import record
from runtime.config import Function
from runtime.errors import ObjectMissing, StoreDenied, StoreDown
from runtime.submit import Call, new_id

if TYPE_CHECKING:
    from runtime.context import Store

ARGUMENTS_LIMIT = 64 * 2**10
"""Bytes of packed arguments that a record holds itself."""

RESULT_LIMIT = 256 * 2**10
"""Bytes of JSON that a record holds itself as its result."""


class Blobs(Protocol):
    """Named bytes. `put` raises StoreDown and StoreDenied, `get` ObjectMissing besides."""

    def put(self, name: str, data: bytes) -> None: ...
    def get(self, name: str) -> bytes: ...


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
