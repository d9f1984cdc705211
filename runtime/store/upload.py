"""An object of any size from a readable: in parts, one on its way while the next is read, never more in memory.

minio's own `put_object` sends three parts at once, leaves its threads behind when the readable fails, and takes a
refusal that comes as the body of a 200 (S3 may answer so when an upload is completed) for a success.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import chain, islice
from typing import Any, BinaryIO

from runtime.errors import BadInput, StoreDown, TundishError
from runtime.store.library import load

PART_BYTES = 16 * 2**20
"""A part of a large upload."""
_MOST_PARTS = 10_000  # S3's limit


class Uploader:
    """Sends one object through `call`, which performs one request of minio's client and translates its errors."""

    def __init__(self, call: Callable[..., Any], bucket: str, key: str, headers: dict[str, str]) -> None:
        self._call, self._place, self._headers = call, (bucket, key), headers

    def send(self, data: BinaryIO, length: int | None) -> str:
        """Returns the etag. What `data` raises goes through; then, as after any failure, no part stays behind."""
        parts = read_parts(data, length)
        head = list(islice(parts, 2))
        if len(head) == 1:
            # An empty body must still be bytes: minio leaves out Content-Length for None.
            return self._etag(self._call("_put_object", *self._place, head[0], dict(self._headers)))
        upload_id = self._call("_create_multipart_upload", *self._place, dict(self._headers))
        try:
            return self._complete(upload_id, self._send_parts(upload_id, chain(_given_away(head), parts)))
        except BaseException:
            with suppress(TundishError):  # the store's own rules remove what cannot be removed now
                self._call("_abort_multipart_upload", *self._place, upload_id)
            raise

    def _send_parts(self, upload_id: str, parts: Iterator[bytes]) -> list[str]:
        """The etags of all parts, in order. One is on its way while `parts` reads the next."""
        etags: list[str] = []
        under_way: Future[str] | None = None
        with ThreadPoolExecutor(1, thread_name_prefix="upload") as sender:
            for number, part in enumerate(parts, 1):
                if under_way is not None:
                    etags.append(under_way.result())
                under_way = sender.submit(self._call, "_upload_part", *self._place, part, None, upload_id, number)
            if under_way is not None:
                etags.append(under_way.result())
        return etags

    def _complete(self, upload_id: str, etags: list[str]) -> str:
        load()
        from minio.datatypes import Part

        listed = [Part(number, etag) for number, etag in enumerate(etags, 1)]
        return self._etag(self._call("_complete_multipart_upload", *self._place, upload_id, listed))

    def _etag(self, result: Any) -> str:
        if not result.etag:
            bucket, key = self._place
            raise StoreDown(
                f"The store could not put together the object {key!r} in bucket {bucket!r}. Look at its log."
            )
        return str(result.etag).strip('"')


def read_parts(data: BinaryIO, length: int | None) -> Iterator[bytes]:
    """The bytes of `data` in parts of one size, at least one (perhaps empty). BadInput when they end too early."""
    size = PART_BYTES if length is None else max(PART_BYTES, -(-length // _MOST_PARTS))
    done = 0
    while True:
        wanted = size if length is None else min(size, length - done)
        part = _read(data, wanted)
        if length is not None and len(part) < wanted:
            raise BadInput(f"The data ended after {done + len(part)} bytes; {length} were announced. Send it again.")
        done += len(part)
        if part or not done:
            yield part
        if len(part) < size or done == length:
            return


def _given_away(parts: list[bytes]) -> Iterator[bytes]:
    """The parts one by one, so that nobody holds those that have been sent."""
    while parts:
        yield parts.pop(0)


def _read(data: BinaryIO, size: int) -> bytes:
    """Exactly `size` bytes, fewer only at the end of the data."""
    part = data.read(size)
    if len(part) in (0, size):
        return part
    pieces, held = [part], len(part)
    while held < size and (piece := data.read(size - held)):
        pieces.append(piece)
        held += len(piece)
    return b"".join(pieces)
