"""Frames between the embedder and its clients: four bytes of length (big-endian), then one msgpack map.

Request `{"id", "op": "embed", "texts", "model"}`; answer `{"id", "vectors": float32 bytes, "shape", "model"}` or
`{"id", "error", "warming"}`. `op: load` is answered when the model is ready. `model` is a name or an identity, empty
for the default one; an unknown one is `missing`. Answers may come in another order than their requests.
"""

from __future__ import annotations

import asyncio
import struct
from typing import Any

import msgpack

MAX_TEXTS = 1024
"""Texts of one request."""

MAX_CHARACTERS = 1_000_000
"""Characters of all texts of one request together."""

REQUEST_LIMIT = 8 * 2**20
"""Bytes of a request. A query is short; documents are embedded by the workers."""

ANSWER_LIMIT = 64 * 2**20
"""Bytes of an answer."""

_LENGTH = struct.Struct("!I")


class FrameTooLarge(Exception):
    """The other side announced a larger frame than is allowed."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"a message of {size} bytes is over the limit of {limit} bytes")


class BadFrame(Exception):
    """The bytes are not a msgpack map."""


def pack(message: dict[str, Any]) -> bytes:
    body: bytes = msgpack.packb(message)
    return _LENGTH.pack(len(body)) + body


async def read(reader: asyncio.StreamReader, limit: int) -> dict[str, Any]:
    """The next message. Raises IncompleteReadError at the end, FrameTooLarge, BadFrame."""
    (size,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    if size > limit:
        raise FrameTooLarge(size, limit)
    body = await reader.readexactly(size)
    try:
        message = msgpack.unpackb(body)
    except (ValueError, msgpack.UnpackException) as error:
        raise BadFrame(f"not msgpack ({error})") from error
    if not isinstance(message, dict):
        raise BadFrame(f"not a map but {type(message).__name__}")
    return message
