"""A small segment as one object, which is written, fetched and removed in one trip.

| bytes | content |
|---|---|
| 8 | how long meta.json is, little-endian |
| so many | meta.json; its sha256 names the segment (layout.packed) |
| the rest | the files that it names, in the order of their names |
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from runtime.errors import CorruptSegment
from runtime.index.segment import META, Meta, decode_meta

LARGEST = 2**20
"""Bytes of a segment that is written so. A larger one is fetched file by file and never held in memory."""

_LENGTH = 8


def fits(meta: Meta) -> bool:
    return not meta.refers and meta.bytes <= LARGEST


def join(folder: Path, meta: Meta) -> bytes:
    """The object that holds the segment in `folder`."""
    data = (folder / META).read_bytes()
    files = [(folder / name).read_bytes() for name in sorted(meta.files)]
    return b"".join([len(data).to_bytes(_LENGTH, "little"), data, *files])


def split(name: str, key: str, data: bytes) -> tuple[Meta, dict[str, memoryview]]:
    """What a segment says of itself, and its files, meta.json among them. Raises CorruptSegment.

    Every byte is hashed; `key` is where the object lies.
    """
    size = _LENGTH + int.from_bytes(data[:_LENGTH], "little")
    view = memoryview(data)
    try:
        meta = decode_meta(name, bytes(view[_LENGTH:size]))
    except CorruptSegment as error:
        raise _changed(key) from error
    files = {META: view[_LENGTH:size]}
    for file, (digest, length) in sorted(meta.files.items()):
        files[file] = view[size : size + length]
        size += length
        if sha256(files[file]).hexdigest() != digest:
            raise _changed(key)
    if size != len(data):
        raise _changed(key)
    return meta, files


def _changed(key: str) -> CorruptSegment:
    return CorruptSegment(f"{key} in the store does not match its hash; it was changed or cut short.")
