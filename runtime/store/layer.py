"""One store before another: what a function is given has such layers, each of which changes one thing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import BinaryIO

from runtime.context import ObjectInfo, Store, StoredObject
from runtime.errors import ObjectMissing


class StoreLayer:
    """Implements `context.Store` by another one. A layer says in `_touch` which objects may be touched, and in `_meta`
    what is written beside them; everything else goes on as it came."""

    def __init__(self, store: Store) -> None:
        self._store, self.bucket = store, store.bucket

    def _touch(self, bucket: str, key: str) -> None:
        """Called before an object is read, written or deleted; raises to refuse it."""

    def _meta(self, bucket: str, metadata: Mapping[str, str] | None) -> Mapping[str, str] | None:
        """The metadata that is written with an object of this bucket."""
        return metadata

    def get(self, bucket: str, key: str, *, limit: int | None = None) -> StoredObject:
        self._touch(bucket, key)
        return self._store.get(bucket, key, limit=limit)

    def get_many(self, bucket: str, keys: Sequence[str], *, limit: int) -> list[StoredObject | None]:
        allowed = []
        for key in keys:
            with suppress(ObjectMissing):
                self._touch(bucket, key)
                allowed.append(key)
        found = dict(zip(allowed, self._store.get_many(bucket, allowed, limit=limit), strict=True))
        return [found.get(key) for key in keys]

    def head(self, bucket: str, key: str) -> ObjectInfo:
        self._touch(bucket, key)
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
        self._touch(bucket, key)
        return self._store.put(
            bucket,
            key,
            data,
            content_type=content_type,
            metadata=self._meta(bucket, metadata),
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
        self._touch(bucket, key)
        return self._store.put_stream(bucket, key, data, length, content_type, self._meta(bucket, metadata))

    def download(self, bucket: str, key: str, file: BinaryIO) -> None:
        self._touch(bucket, key)
        self._store.download(bucket, key, file)

    def list(self, bucket: str, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        return self._store.list(bucket, prefix, start_after=start_after)

    def delete(self, bucket: str, key: str, *, if_match: str | None = None) -> None:
        self._touch(bucket, key)
        self._store.delete(bucket, key, if_match=if_match)

    def abort_uploads(self, bucket: str, older_than: float) -> int:
        return self._store.abort_uploads(bucket, older_than)

    def connection(self) -> Mapping[str, str]:
        return self._store.connection()
