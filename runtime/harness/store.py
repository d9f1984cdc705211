"""An S3 store in memory."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from hashlib import md5
from threading import Lock
from typing import BinaryIO

from runtime.context import ObjectInfo, StoredObject
from runtime.errors import BadInput, ObjectMissing, PreconditionFailed
from runtime.store.names import check_metadata, check_new_key
from runtime.store.upload import read_parts


class MemoryStore:
    """Implements `context.Store` with S3's rules: etags, conditional PUTs, listing in the order of bytes."""

    def __init__(self, bucket: str = "tundish") -> None:
        self.bucket = bucket
        self._objects: dict[tuple[str, str], tuple[StoredObject, ObjectInfo]] = {}
        self._lock = Lock()

    def get(self, bucket: str, key: str, *, limit: int | None = None) -> StoredObject:
        found = self._find(bucket, key)[0]
        if limit is not None and len(found.data) > limit:
            raise BadInput(f"Object {key!r} in bucket {bucket!r} has {len(found.data)} bytes; the limit is {limit}.")
        return found

    def get_many(self, bucket: str, keys: Sequence[str], *, limit: int) -> list[StoredObject | None]:
        with self._lock:
            found = [self._objects.get((bucket, key), (None, None))[0] for key in keys]
        return [one if one and len(one.data) <= limit else None for one in found]

    def head(self, bucket: str, key: str) -> ObjectInfo:
        return self._find(bucket, key)[1]

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
        check_new_key(key)
        check_metadata(metadata or {})
        etag = md5(data, usedforsecurity=False).hexdigest()
        info = ObjectInfo(bucket, key, etag, len(data), time.time(), content_type, dict(metadata or {}))
        with self._lock:
            old = self._objects.get((bucket, key))
            if (create_only and old) or (if_match is not None and (not old or old[0].etag != if_match)):
                raise PreconditionFailed(f"Object {key!r} in bucket {bucket!r} exists already, or is another one.")
            self._objects[bucket, key] = _whole(bytes(data), info), info
        return etag

    def put_stream(
        self,
        bucket: str,
        key: str,
        data: BinaryIO,
        length: int | None = None,
        content_type: str = "",
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        content = b"".join(read_parts(data, length))
        return self.put(
            bucket, key, content, content_type=content_type or "application/octet-stream", metadata=metadata
        )

    def download(self, bucket: str, key: str, file: BinaryIO) -> None:
        file.write(self.get(bucket, key).data)

    def list(self, bucket: str, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        """In the order of bytes; like a server's listing it tells neither content types nor metadata."""
        with self._lock:
            found = [info for (place, key), (_, info) in self._objects.items() if place == bucket]
        wanted = [info for info in found if info.key.startswith(prefix) and info.key.encode() > start_after.encode()]
        for info in sorted(wanted, key=lambda one: one.key.encode()):
            yield ObjectInfo(bucket, info.key, info.etag, info.size, info.modified)

    def delete(self, bucket: str, key: str, *, if_match: str | None = None) -> None:
        with self._lock:
            if if_match is not None and self._find(bucket, key)[0].etag != if_match:
                raise PreconditionFailed(f"Object {key!r} in bucket {bucket!r} is another one by now.")
            self._objects.pop((bucket, key), None)

    def abort_uploads(self, bucket: str, older_than: float) -> int:
        return 0  # an object comes here whole

    def connection(self) -> Mapping[str, str]:
        raise BadInput("This store is in memory: another S3 client cannot reach it.")

    def _find(self, bucket: str, key: str) -> tuple[StoredObject, ObjectInfo]:
        try:
            return self._objects[bucket, key]
        except KeyError as error:
            raise ObjectMissing(f"There is no object {key!r} in bucket {bucket!r}.") from error


def _whole(data: bytes, info: ObjectInfo) -> StoredObject:
    return StoredObject(data, info.etag, info.content_type, info.modified, info.metadata)
