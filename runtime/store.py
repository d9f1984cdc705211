"""The S3 store: a thin port over the minio client.

Requests with headers that minio-py cannot send (`If-None-Match`, `If-Match`) and listings go through the
client's `_execute`, which signs any header it is given. That is an internal: the version is pinned, and
tests/test_store.py fails when it changes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from runtime.config import StoreSettings
from runtime.context import ObjectInfo, StoredObject
from runtime.errors import BadInput, ObjectMissing, StoreDown
from runtime.store_errors import translated
from runtime.store_listing import PAGE, pages

CONNECT_SECONDS = 3.0
READ_SECONDS = 30.0
# A part of a large upload; S3 allows 10,000 of them.
PART_BYTES = 16 * 2**20


class MinioStore:
    """Implements `context.Store`. Safe to share between threads, and between a process and its forks."""

    def __init__(self, settings: StoreSettings) -> None:
        self._settings = settings
        self._made: tuple[int, Any] | None = None
        self.bucket = settings.bucket

    def get(self, bucket: str, key: str, *, limit: int | None = None) -> StoredObject:
        """Read an object whole; with `limit` (bytes), a larger one raises BadInput and is not read."""
        from urllib3.exceptions import HTTPError

        _check_key(key)
        with translated(self._settings.endpoint, bucket, key):
            try:
                return self._read(bucket, key, limit)
            except HTTPError:  # the connection broke in the middle of the body: once more from the start
                return self._read(bucket, key, limit)

    def head(self, bucket: str, key: str) -> ObjectInfo:
        _check_key(key)
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
    ) -> str:
        """Write an object and return its etag.

        A conditional PUT whose answer got lost is sent again and may then fail on its own first copy: who
        gets PreconditionFailed and cares reads what is there.
        """
        _check_new_key(key)
        headers = {"Content-Type": content_type}
        if create_only:
            headers["If-None-Match"] = "*"
        if if_match is not None:
            headers["If-Match"] = f'"{if_match}"'
        with translated(self._settings.endpoint, bucket, key):
            # An empty body must still be bytes: minio leaves out Content-Length for None.
            response = self._execute("PUT", bucket, key, body=bytes(data), headers=headers)
            return _etag(response.headers)

    def put_stream(
        self, bucket: str, key: str, data: BinaryIO, length: int | None = None, content_type: str = ""
    ) -> str:
        """Write an object of any size from a readable, in parts where it is large; returns its etag."""
        _check_new_key(key)
        with translated(self._settings.endpoint, bucket, key):
            result = self._client.put_object(
                bucket,
                key,
                data,
                -1 if length is None else length,
                content_type=content_type or "application/octet-stream",
                part_size=PART_BYTES if length is None or length > PART_BYTES else 0,
            )
            return str(result.etag).strip('"')

    def stream(self, bucket: str, key: str) -> Any:
        """An open urllib3 response with the object's body; read it with `decode_content=False`, then close it.

        Its headers hold ETag, Content-Length and Content-Type.
        """
        _check_key(key)
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
            parameters["start-after"] = start_after

        def fetch(query: Mapping[str, str]) -> bytes:
            with translated(self._settings.endpoint, bucket):
                data: bytes = self._execute("GET", bucket, query_params=dict(query)).data
                return data

        return pages(fetch, bucket, parameters)

    def delete(self, bucket: str, key: str) -> None:
        """Remove an object; removing what is not there is no error."""
        _check_key(key)
        with translated(self._settings.endpoint, bucket, key):
            self._execute("DELETE", bucket, key)

    def bucket_exists(self, name: str) -> bool:
        with translated(self._settings.endpoint, name):
            return bool(self._client.bucket_exists(name))

    def ensure_bucket(self, name: str) -> None:
        """Make a bucket unless it is there."""
        from minio.error import S3Error

        if self.bucket_exists(name):
            return
        with translated(self._settings.endpoint, name):
            try:
                self._client.make_bucket(name)
            except S3Error as error:
                if error.code not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                    raise

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
            return StoredObject(data, _etag(response.headers), response.headers.get("Content-Type", ""))
        finally:
            if not response.closed:
                response.close()

    def _execute(self, method: str, bucket: str, key: str | None = None, **options: Any) -> Any:
        return self._client._execute(method, bucket, key, **options)

    @property
    def _client(self) -> Any:
        """The client of this process: a connection that a fork shares with its parent would mix up answers."""
        pid = os.getpid()
        if self._made is None or self._made[0] != pid:
            self._made = (pid, _client(self._settings))
        return self._made[1]


def _client(settings: StoreSettings) -> Any:
    import urllib3
    from minio import Minio

    # Connecting is tried for about a second; a request that was sent and not answered only once more.
    retries = urllib3.Retry(
        total=4,
        connect=3,
        read=1,
        backoff_factor=0.1,
        status_forcelist=(500, 502, 503, 504),
        raise_on_status=False,
        respect_retry_after_header=False,
    )
    pool = urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS), maxsize=32, retries=retries
    )
    try:
        return Minio(
            settings.endpoint,
            settings.access_key,
            settings.secret_key,
            secure=settings.secure,
            region=settings.region,
            http_client=pool,
        )
    except ValueError as error:
        raise StoreDown(f"MINIO_ENDPOINT {settings.endpoint!r} is not host:port ({error}).") from error


def _info(bucket: str, key: str, headers: Mapping[str, str]) -> ObjectInfo:
    from email.utils import parsedate_to_datetime

    prefix = "x-amz-meta-"
    modified = headers.get("Last-Modified", "")
    return ObjectInfo(
        bucket,
        key,
        _etag(headers),
        int(headers.get("Content-Length") or 0),
        parsedate_to_datetime(modified).timestamp() if modified else 0.0,
        headers.get("Content-Type", ""),
        {name[len(prefix) :].lower(): value for name, value in headers.items() if name.lower().startswith(prefix)},
    )


def _etag(headers: Mapping[str, str]) -> str:
    return headers.get("ETag", "").strip('"')


def _too_large(bucket: str, key: str, size: int, limit: int) -> BadInput:
    return BadInput(f"Object {key!r} in bucket {bucket!r} has at least {size} bytes; the limit is {limit}.")


def _check_key(key: str) -> None:
    """HTTP clients and proxies resolve `.` and `..` in a path, so such an object cannot be reached."""
    if not key or any(part in (".", "..") for part in key.split("/")):
        raise ObjectMissing(f"There can be no object {key!r}: a key is not empty and has no '.' or '..' segment.")


def _check_new_key(key: str) -> None:
    """Refuse what a store may silently keep under another name (SeaweedFS: `a//b`, `/a` and `a\\b`)."""
    parts = key.split("/")
    inner = parts[:-1] if len(parts) > 1 else parts  # a closing slash is a folder marker
    if "" in inner or "\\" in key or any(part in (".", "..") for part in parts):
        raise BadInput(
            f"{key!r} cannot be the name of an object: it must not be empty, begin with '/', hold '//', a backslash, "
            "or a '.' or '..' segment. Rename it."
        )
    try:
        size = len(key.encode())
    except UnicodeEncodeError as error:
        raise BadInput(f"{key!r} cannot be the name of an object: it is not valid Unicode.") from error
    if size > 1024:
        raise BadInput(f"The name {key[:80]!r}… has {size} bytes; a store takes 1,024.")
