"""One open listen call, read as it comes.

minio-py's own iterator is of no use here: it cannot see keep-alives, so it waits for ever on a server that never
flushes, and it connects again without a pause.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from runtime.config.settings import StoreSettings
from runtime.errors import ObjectMissing
from runtime.store.library import load
from triggers.sources.base import Broken

EVENTS = ("s3:ObjectCreated:*", "s3:ObjectRemoved:*")
PING_SECONDS = 1
SILENCE_SECONDS = 5.0
CONNECT_SECONDS = 3.0
LINE_BYTES = 2**20
READ_BYTES = 64 * 1024
AT_ONCE = 512

_PINGS = (b'{"Records":null}', b'{"Records":[]}')  # MinIO's, RustFS's
_DENIED = ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch")


class ListenStream:
    """Complete lines of an open response, without keep-alives."""

    def __init__(self, response: Any, place: str) -> None:
        self._response, self._place = response, place
        self._rest = b""
        self._end: Broken | None = None

    def read(self) -> list[bytes]:
        """Wait for what comes next: lines, or none when it was only a keep-alive. Raises Broken.

        In a flood all that has come is read together: a line at a time would be slower than the server, which drops
        what is not taken. A stream that breaks has given its complete lines before.
        """
        lines = self._next()
        while lines and len(lines) < AT_ONCE and self._end is None and self._has_more():
            try:
                lines += self._next()
            except Broken as error:
                self._end = error
        return lines

    def _has_more(self) -> bool:
        load()
        from urllib3.util import wait_for_read

        socket = getattr(self._response.connection, "sock", None)
        return socket is not None and wait_for_read(socket, 0)

    def _next(self) -> list[bytes]:
        if self._end is not None:
            raise self._end
        with _broken(self._place):
            data = self._response.read1(READ_BYTES, decode_content=False)
        if not data:
            raise Broken(f"{self._place} ended the listen stream.")
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest.lstrip()
        if len(self._rest) > LINE_BYTES:
            raise Broken(f"{self._place} sends a line of more than {LINE_BYTES} bytes.")
        lines = [line.strip() for line in lines]
        if any(line and not line.startswith(b"{") for line in (*lines, self._rest)):
            raise Broken(f"{self._place} answers a listen call with something else.", lasting=True)
        return [line for line in lines if line and line not in _PINGS]


@contextmanager
def connect(settings: StoreSettings, bucket: str) -> Iterator[ListenStream]:
    """A listen call on one bucket. Raises Broken where there is none, and when no headers come in time; ObjectMissing
    where there is no such bucket."""
    load()
    import urllib3
    from minio import Minio

    place = f"The store at {settings.endpoint}"
    timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=SILENCE_SECONDS)
    # A pool of its own, without retries: whoever calls decides when to try again.
    with urllib3.PoolManager(timeout=timeout, retries=False) as pool:
        with _broken(place):
            client = Minio(
                settings.endpoint,
                settings.access_key,
                settings.secret_key,
                secure=settings.secure,
                region=settings.region,
                http_client=pool,
            )
            query = {"events": EVENTS, "prefix": "", "suffix": "", "ping": str(PING_SECONDS)}
            response = client._execute("GET", bucket, query_params=query, preload_content=False)
        try:
            yield ListenStream(response, place)
        finally:
            response.close()


@contextmanager
def _broken(place: str) -> Iterator[None]:
    """Errors of minio and urllib3 as ours."""
    load()
    from minio.error import InvalidResponseError, MinioException, S3Error
    from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, ReadTimeoutError

    try:
        yield
    except NewConnectionError as error:
        raise Broken(f"{place} cannot be reached.") from error
    except ConnectTimeoutError as error:
        raise Broken(f"{place} did not answer within {CONNECT_SECONDS:g} s.") from error
    except ReadTimeoutError as error:
        raise Broken(
            f"{place} leaves the listen stream silent: no byte for {SILENCE_SECONDS:g} s, although a keep-alive is "
            f"due every {PING_SECONDS} s. Builds of MinIO since late 2025 never flush it (Silo does), and a proxy that "
            "buffers has the same effect."
        ) from error
    except S3Error as error:
        if error.code == "NoSuchBucket":
            raise ObjectMissing(f"{place} has no such bucket.") from error
        if error.code in _DENIED:
            raise Broken(
                f"{place} refuses to be listened to ({error.code}): the access key needs the permission "
                "s3:ListenBucketNotification.",
                lasting=True,
            ) from error
        lasting = error.code in ("NotImplemented", "MethodNotAllowed", "InvalidArgument") or error.code is None
        raise Broken(f"{place} cannot be listened to ({error.code}: {error.message}).", lasting=lasting) from error
    except (InvalidResponseError, MinioException) as error:
        raise Broken(f"{place} does not answer a listen call as an S3 server does: {error!s:.200}") from error
    except (HTTPError, OSError) as error:
        raise Broken(f"{place} broke the listen stream off ({type(error).__name__}).") from error
    except ValueError as error:
        raise Broken(f"{place} cannot be asked: {error}", lasting=True) from error
