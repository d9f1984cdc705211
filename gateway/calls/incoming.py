"""An upload's body as a file that the store's client can read from its thread, a part at a time."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator

import anyio.from_thread

from gateway.web.problems import refuse
from runtime.values.units import format_size


class Incoming(io.RawIOBase):
    """Reads a request's stream from another thread. 413 when more than `limit` bytes come; `size` counts them."""

    def __init__(self, stream: AsyncIterator[bytes], limit: int) -> None:
        super().__init__()
        self._stream, self._limit = stream, limit
        self._rest = b""
        self.size = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """Exactly `size` bytes, fewer only at the end. The store's client never asks for more than a part."""
        if size is None or size < 0:
            raise io.UnsupportedOperation("an upload is read in parts")
        return anyio.from_thread.run(self._take, size)

    async def _take(self, size: int) -> bytes:
        parts, held = [self._rest], len(self._rest)
        while held < size:
            part = await anext(self._stream, None)
            if part is None:
                break
            self.size += len(part)
            if self.size > self._limit:
                too_large(self._limit)
            parts.append(part)
            held += len(part)
        # Cut before the pieces are joined: a part is large, and one copy of it less is in memory.
        kept = len(parts[-1]) - max(0, held - size)
        self._rest, parts[-1] = parts[-1][kept:], parts[-1][:kept]
        return b"".join(parts)


def too_large(limit: int) -> None:
    refuse(413, f"The upload is larger than {format_size(limit)} (limits.upload in functions.yaml).")
