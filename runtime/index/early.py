"""The vectors of a large segment, on their way into the store while the batches that follow are still read.

A segment is named after what is in it, which is known last. So its folder gets a name of its own, which becomes the end
of the segment's (layout.segment). It is a guess that every row will be in the segment, and how many there are, since
they are counted in the first bytes; where it turns out wrong, the vectors are uploaded once more, with everything else.
"""

from __future__ import annotations

import logging
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Condition

from runtime.context import Store
from runtime.errors import TundishError
from runtime.index import layout
from runtime.index.vector_file import HEADER_BYTES, INDEX, header

LEAST_BYTES = 64 * 2**20
"""Of vectors: for fewer, the store's answers are waited for longer than the bytes take."""

log = logging.getLogger("tundish.index")


class _GivenUp(Exception):
    """Nobody needs the upload any more."""


class Early:
    """Sends a file that is still written to; memory: two parts of an upload."""

    names = frozenset({INDEX})

    def __init__(self, store: Store, index: str, path: Path, dimensions: int, rows: int) -> None:
        self.folder = uuid.uuid4().hex
        self._store, self._key = store, layout.segment(index, self.folder) + INDEX
        self._head, self._path = header(dimensions, rows), path
        self.size, self._ready, self._sent = len(self._head) + rows * dimensions * 4, 0, 0
        self._over, self._changed = False, Condition()
        self._file = path.open("rb", buffering=0)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="early")
        # Any object with `read` is a readable to the store.
        self._done = self._pool.submit(store.put_stream, store.bucket, self._key, self, self.size)  # type: ignore[arg-type]

    def written(self, size: int) -> None:
        """So many bytes of the file are there to be read."""
        with self._changed:
            self._ready = size
            self._changed.notify()

    def read(self, size: int) -> bytes:
        """The next bytes, as soon as they are there; for the thread that sends them."""
        size = min(size, self.size - self._sent)
        with self._changed:
            self._changed.wait_for(lambda: self._over or self._ready >= self._sent + size)
            if self._over:
                raise _GivenUp
        self._file.seek(self._sent)
        data = bytearray(size)
        view, done = memoryview(data), 0
        while done < size and (count := self._file.readinto(view[done:])):
            done += count
        if self._sent < HEADER_BYTES:  # written when the file is closed
            head = self._head[self._sent : self._sent + size]
            data[: len(head)] = head
        self._sent += done
        return bytes(view[:done])

    def finished(self) -> bool:
        """Whether the file, which is closed and has `size` bytes, is in the store; waits for what is on its way."""
        self.written(self.size)
        try:
            self._done.result()
        except TundishError as error:  # the store or a cleanup ended it
            log.warning("The vectors of a segment are uploaded once more: %s", error)
            return False
        finally:
            self._end()
        return True

    def give_up(self) -> None:
        """Leave nothing in the store."""
        with self._changed:
            self._over = True
            self._changed.notify()
        try:
            if self._done.exception() is None:
                with suppress(TundishError):  # cleanup removes it, too
                    self._store.delete(self._store.bucket, self._key)
        finally:
            self._end()

    def _end(self) -> None:
        self._pool.shutdown()
        self._file.close()
