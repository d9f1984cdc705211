"""The S3 store: a thin port over the minio client.

Requests with headers that minio-py cannot send (`If-None-Match`, `If-Match`) and listings go through the
client's `_execute`, which signs any header it is given, and uploads in parts through its methods for these. They
are internals: the version is pinned, and tests/test_store.py fails when it changes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any, BinaryIO

from runtime.config.settings import StoreSettings
from runtime.context import ObjectInfo, StoredObject
from runtime.errors import BadInput, ObjectMissing, PreconditionFailed
from runtime.store import client as store_client
from runtime.store.errors import missing, translated
from runtime.store.library import load
from runtime.store.line import MISSING, Answer
from runtime.store.listing import PAGE, Pages
from runtime.store.many import completed
from runtime.store.names import check_key, check_metadata, check_new_key
from runtime.store.quick import QuickReads
from runtime.store.unfinished import unfinished
from runtime.store.upload import Uploader

_METADATA = "x-amz-meta-"


class MinioStore:
    """Implements `context.Store`. Safe to share between threads, and between a process and its forks."""

    def __init__(self, settings: StoreSettings) -> None:
        self._settings = settings
        self._made: tuple[int, Any] | None = None
        self._quick = QuickReads(settings)
        self._folder_order: bool | None = None
        self.bucket = settings.bucket

    def get(self, bucket: str, key: str, *, limit: int | None = None) -> StoredObject:
        """Read an object whole; with `limit` (bytes), a larger one raises BadInput and is not read."""
        check_key(key)
        if (quick := self._quick.get(bucket, key, limit)) is MISSING:
            raise missing(self._settings.endpoint, bucket, key)
        if quick is not None:
            return _object(*quick)
        load()
        from urllib3.exceptions import HTTPError

        with translated(self._settings.endpoint, bucket, key):
            try:
                return self._read(bucket, key, limit)
            except HTTPError:  # the connection broke in the middle of the body: once more from the start
                return self._read(bucket, key, limit)

    def get_many(self, bucket: str, keys: Sequence[str], *, limit: int) -> list[StoredObject | None]:
        """See `context.Store`. On one connection, where that is possible; else on several at once."""
        quick: list[Answer | None] = [None] * len(keys)
        with suppress(ObjectMissing):  # a key that no object can have
            for key in keys:
                check_key(key)
            quick = self._quick.get_many(bucket, keys, limit)
        found = [None if one is None or one is MISSING else _object(*one) for one in quick]
        return completed(lambda key: self.get(bucket, key, limit=limit), keys, found)

    def head(self, bucket: str, key: str) -> ObjectInfo:
        check_key(key)
        with translated(self._settings.endpoint, bucket, key):
            headers = self._execute("HEAD", bucket, key).headers
            return _info(bucket, key, headers)

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
        """Write an object and return its etag.

        A conditional PUT whose answer got lost is sent again and may then fail on its own first copy: who
        gets PreconditionFailed and cares reads what is there.
        """
        check_new_key(key)
        headers = {"Content-Type": content_type, **_headers(metadata)}
        if create_only:
            headers["If-None-Match"] = "*"
        if if_match is not None:
            headers["If-Match"] = f'"{if_match}"'
        with translated(self._settings.endpoint, bucket, key):
            # An empty body must still be bytes: minio leaves out Content-Length for None.
            response = self._execute("PUT", bucket, key, body=bytes(data), headers=headers)
            return _etag(response.headers)

    def put_stream(
        self,
        bucket: str,
        key: str,
        data: BinaryIO,
        length: int | None = None,
        content_type: str = "",
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        """Write an object of any size from a readable, in parts where it is large; returns its etag."""
        check_new_key(key)
        headers = {"Content-Type": content_type or "application/octet-stream", **_headers(metadata)}

        def call(name: str, *arguments: Any) -> Any:
            with translated(self._settings.endpoint, bucket, key):
                return getattr(self._client, name)(*arguments)

        return Uploader(call, bucket, key, headers).send(data, length)

    def stream(self, bucket: str, key: str) -> Any:
        """An open urllib3 response with the object's body; read it with `decode_content=False`, then close it.

        Its headers hold ETag, Content-Length and Content-Type.
        """
        check_key(key)
        with translated(self._settings.endpoint, bucket, key):
            return self._execute("GET", bucket, key, preload_content=False)

    def download(self, bucket: str, key: str, file: BinaryIO) -> None:
        """Write an object's bytes to a file, without holding them in memory."""
        response = self.stream(bucket, key)
        with translated(self._settings.endpoint, bucket, key):
            try:
                for chunk in response.stream(2**20, decode_content=False):
                    file.write(chunk)
            finally:
                response.release_conn()

    def list(self, bucket: str, prefix: str = "", *, start_after: str = "", page: int = PAGE) -> Iterator[ObjectInfo]:
        """Every object under `prefix`, in the order of the server, streamed page by page."""
        parameters = {"list-type": "2", "encoding-type": "url", "max-keys": str(page), "prefix": prefix}
        if start_after:
            parameters["start-after"] = self._after(bucket, start_after)
        return iter(Pages(partial(self._ask, bucket), bucket, parameters))

    def abort_uploads(self, bucket: str, older_than: float) -> int:
        """End uploads in parts that began more than `older_than` seconds ago; how many."""
        before, count = self.server_time(bucket) - older_than, 0
        for upload in [one for one in unfinished(partial(self._ask, bucket), bucket) if one.begun <= before]:
            with suppress(ObjectMissing), translated(self._settings.endpoint, bucket, upload.key):
                self._client._abort_multipart_upload(bucket, upload.key, upload.id)
                count += 1
        return count

    def connection(self) -> Mapping[str, str]:
        """For a library with an S3 client of its own: `endpoint` (a URL), `access_key`, `secret_key`, `region`."""
        found = self._settings
        scheme = "https" if found.secure else "http"
        return {
            "endpoint": f"{scheme}://{found.endpoint}",
            "access_key": found.access_key,
            "secret_key": found.secret_key,
            "region": found.region,
        }

    def delete(self, bucket: str, key: str, *, if_match: str | None = None) -> None:
        """See `context.Store`. SeaweedFS and S3 itself obey `If-Match` here; a server that does not, deletes."""
        check_key(key)
        headers = None
        if if_match is not None:
            if self.head(bucket, key).etag != if_match:
                raise PreconditionFailed(f"Object {key!r} in bucket {bucket!r} is another one by now.")
            headers = {"If-Match": f'"{if_match}"'}
        with translated(self._settings.endpoint, bucket, key):
            self._execute("DELETE", bucket, key, headers=headers)

    def bucket_exists(self, name: str) -> bool:
        with translated(self._settings.endpoint, name):
            return bool(self._client.bucket_exists(name))

    def ensure_bucket(self, name: str) -> None:
        """Make a bucket unless it is there."""
        load()
        from minio.error import S3Error

        if self.bucket_exists(name):
            return
        with translated(self._settings.endpoint, name):
            try:
                self._client.make_bucket(name)
            except S3Error as error:
                if error.code not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                    raise

    def server_time(self, bucket: str) -> float:
        """The clock of the store, in whole seconds since the epoch: what `ObjectInfo.modified` is told by."""
        return _seconds(self._head_bucket(bucket).get("Date", ""))

    def server_name(self, bucket: str) -> str:
        """What the server calls itself (`MinIO`, `SeaweedFS …`, `AmazonS3`), or an empty string."""
        return str(self._head_bucket(bucket).get("Server", ""))

    def ping(self) -> None:
        """One signed request. Raises StoreDown or StoreDenied."""
        self.bucket_exists(self.bucket)

    def _read(self, bucket: str, key: str, limit: int | None) -> StoredObject:
        response = self._execute("GET", bucket, key, preload_content=False)
        try:
            size = int(response.headers.get("Content-Length") or 0)
            if limit is not None and size > limit:
                raise _too_large(bucket, key, size, limit)
            # Not decoded: the etag belongs to the bytes as they are stored.
            data = response.read(None if limit is None else limit + 1, decode_content=False)
            if limit is not None and len(data) > limit:
                raise _too_large(bucket, key, len(data), limit)
            if len(data) == size:
                response.release_conn()
            return _object(response.headers, data)
        finally:
            if not response.closed:
                response.close()

    def _after(self, bucket: str, key: str) -> str:
        """What to send as `start-after`: after `a` SeaweedFS leaves out `a/b`, although it lists it there."""
        if self._folder_order is None:
            self._folder_order = "SeaweedFS" in self.server_name(bucket)
        return f"{key}/" if self._folder_order and not key.endswith("/") else key

    def _ask(self, bucket: str, query: Mapping[str, str]) -> bytes:
        with translated(self._settings.endpoint, bucket):
            quick = self._quick.query(bucket, query)
            if quick is not None:
                return quick
            data: bytes = self._execute("GET", bucket, query_params=dict(query)).data
            return data

    def _head_bucket(self, bucket: str) -> Mapping[str, str]:
        with translated(self._settings.endpoint, bucket):
            headers: Mapping[str, str] = self._execute("HEAD", bucket).headers
            return headers

    def _execute(self, method: str, bucket: str, key: str | None = None, **options: Any) -> Any:
        return self._client._execute(method, bucket, key, **options)

    @property
    def _client(self) -> Any:
        """The client of this process: a connection that a fork shares with its parent would mix up answers."""
        pid = os.getpid()
        if self._made is None or self._made[0] != pid:
            self._made = (pid, store_client.client(self._settings))
        return self._made[1]


def _headers(metadata: Mapping[str, str] | None) -> dict[str, str]:
    if not metadata:
        return {}
    check_metadata(metadata)
    return {_METADATA + name: value for name, value in metadata.items()}


def _info(bucket: str, key: str, headers: Mapping[str, str]) -> ObjectInfo:
    return ObjectInfo(
        bucket,
        key,
        _etag(headers),
        int(headers.get("Content-Length") or 0),
        _seconds(headers.get("Last-Modified", "")),
        headers.get("Content-Type", ""),
        _metadata(headers),
    )


def _metadata(headers: Mapping[str, str]) -> dict[str, str]:
    """An object's own."""
    end = len(_METADATA)
    return {name[end:].lower(): value for name, value in headers.items() if name[:end].lower() == _METADATA}


def _object(headers: Mapping[str, str], data: bytes) -> StoredObject:
    modified = _seconds(headers.get("Last-Modified", ""))
    return StoredObject(data, _etag(headers), headers.get("Content-Type", ""), modified, _metadata(headers))


@lru_cache(256)
def _seconds(date: str) -> float:
    """A date as headers write it, or 0 where there is none."""
    from email.utils import parsedate_to_datetime

    return parsedate_to_datetime(date).timestamp() if date else 0.0


def _etag(headers: Mapping[str, str]) -> str:
    return headers.get("ETag", "").strip('"')


def _too_large(bucket: str, key: str, size: int, limit: int) -> BadInput:
    return BadInput(f"Object {key!r} in bucket {bucket!r} has at least {size} bytes; the limit is {limit}.")
