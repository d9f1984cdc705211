"""Arguments as a record holds them: msgpack, compressed where functions.yaml asks for it (`broker: compress_over`)."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import msgpack

LEVEL = 1
"""zlib's fastest: JSON and text shrink to a third by it, and what is saved is memory and the network, not disk."""

_ZLIB = b"\x78"
"""How zlib's streams begin. No mapping does in msgpack: there it is the number 120."""


def pack(arguments: Mapping[str, Any], over: int | None = None) -> bytes:
    """`over`: more bytes are compressed, where it makes them fewer; None: never."""
    raw: bytes = msgpack.packb(dict(arguments), use_bin_type=True)
    if over is None or len(raw) <= over:
        return raw
    small = zlib.compress(raw, LEVEL)
    return small if len(small) < len(raw) else raw


def unpack(raw: bytes) -> dict[str, Any]:
    """What `pack` made, however it did."""
    plain = zlib.decompress(raw) if raw.startswith(_ZLIB) else raw
    found: dict[str, Any] = msgpack.unpackb(plain, raw=False, strict_map_key=False)
    return found
