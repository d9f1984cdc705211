"""The store as a function sees it: what it writes says which function wrote it, and after how many others.

A bucket trigger reads the stamp with its HEAD, and so finds functions that call each other (or themselves) for ever
by the objects that they write.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import BinaryIO

from runtime.context import ObjectInfo, Store, StoredObject

HOPS = "tundish-hops"
BY = "tundish-by"


class StampedStore:
    """Implements `context.Store` by another one; stamps everything outside Tundish's own bucket."""

    def __init__(self, store: Store, function: str, hops: int) -> None:
        self._store, self.bucket = store, store.bucket
        self._stamp = {HOPS: str(hops), BY: function}

    def get(self, bucket: str, key: str, *, limit: int | None = None) -> StoredObject:
        return self._store.get(bucket, key, limit=limit)

    def head(self, bucket: str, key: str) -> ObjectInfo:
        return self._store.head(bucket, key)

    def put(
        self,
        bucket: str,
        key: str,
        data: bytes,
        *,
        content_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
        create_only: bool = False,
        if_match: str | None = None,
    ) -> str:
        return self._store.put(
            bucket,
            key,
            data,
            content_type=content_type,
            metadata=self._stamped(bucket, metadata),
            create_only=create_only,
            if_match=if_match,
        )

    def put_stream(
        self,
        bucket: str,
        key: str,
        data: BinaryIO,
        length: int | None = None,
        content_type: str = "",
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        return self._store.put_stream(bucket, key, data, length, content_type, self._stamped(bucket, metadata))

    def download(self, bucket: str, key: str, file: BinaryIO) -> None:
        self._store.download(bucket, key, file)

    def list(self, bucket: str, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        return self._store.list(bucket, prefix, start_after=start_after)

    def delete(self, bucket: str, key: str) -> None:
        self._store.delete(bucket, key)

    def abort_uploads(self, bucket: str, older_than: float) -> int:
        return self._store.abort_uploads(bucket, older_than)

    def _stamped(self, bucket: str, metadata: Mapping[str, str] | None) -> Mapping[str, str] | None:
        return metadata if bucket == self.bucket else {**(metadata or {}), **self._stamp}


def hops(info: ObjectInfo) -> int:
    """After how many functions in a row an object was written; 0 for one that no function wrote."""
    told = info.metadata.get(HOPS, "")
    return int(told) if told.isdecimal() else 0
