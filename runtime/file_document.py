"""A file as plain data: how it travels in arguments and results.

`{"name", "content_type", "size", "data"}`, where `data` is its bytes, in base64 where they are JSON. A large one has
`ref` instead: its name in Tundish's own bucket.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

from runtime.file import BINARY, File, HttpAnswer

if TYPE_CHECKING:
    from runtime.invocations.blobs import Blobs

UPLOAD = "x-upload"
"""In a JSON Schema: this is uploaded, as a `file` or as `bytes`."""

BYTES_SCHEMA: Mapping[str, Any] = {"type": "string", "contentEncoding": "base64", UPLOAD: "bytes"}
SCHEMA: Mapping[str, Any] = {
    "type": ["string", "object"],
    "contentEncoding": "base64",
    "properties": {
        "data": {"type": "string", "contentEncoding": "base64"},
        "name": {"type": ["string", "null"]},
        "content_type": {"type": "string"},
        "size": {"type": "integer"},
    },
    "required": ["data"],
    "additionalProperties": False,
    UPLOAD: "file",
}

# Only what callers uploaded and functions returned: a document must not open other objects of the bucket.
_REFERENCE = re.compile(r"(arguments|results)/[0-9a-f-]{32,64}(/\d{1,4})?")

_URL_SAFE = str.maketrans("-_", "+/")  # the other alphabet of base64


def document(file: File, **content: Any) -> dict[str, Any]:
    """A file without its content, and `data` or `ref` beside it."""
    told = {"name": file.name, "content_type": file.content_type, "size": file.size, **content}
    if isinstance(file, HttpAnswer):
        told |= {"status": file.status, "headers": file.headers}
    return told


def inline(file: File) -> dict[str, Any]:
    """A file with its bytes in base64."""
    data = file.read()
    return document(file, data=base64.b64encode(data).decode()) | {"size": len(data)}


def shown(told: Mapping[str, Any]) -> dict[str, Any]:
    """A document without its content."""
    return {name: told.get(name) for name in ("name", "content_type", "size")}


def file_of(told: Mapping[str, Any], blobs: Blobs | None) -> File:
    """The file of a document. Raises ValueError for one that is none."""
    name, kind, size = told.get("name"), told.get("content_type") or "", told.get("size")
    reference = told.get("ref")
    if reference is None:
        return File(_bytes(told.get("data")), name, kind)
    if blobs is None or not isinstance(reference, str) or not _REFERENCE.fullmatch(reference):
        raise ValueError("names a file in the store that cannot be had here")
    return File.stored(reference, partial(_fetched, blobs, reference), name, kind, size)


def value_of(told: Mapping[str, Any], blobs: Blobs | None) -> File | bytes:
    """What a function gets that called another one: bytes where that returned bytes, else a File."""
    file = file_of(told, blobs)
    return file.read() if file.name is None and file.content_type == BINARY else file


def validated(value: Any, info: Any) -> File:
    """An argument of type File: a document, or text in base64. Raises ValueError."""
    if isinstance(value, File):
        return value
    if isinstance(value, Mapping):
        return file_of(value, (info.context or {}).get("blobs"))
    return File(_bytes(value))


def validated_bytes(value: Any, info: Any) -> Any:
    """The same for an argument of type bytes; what is none of these is left to others."""
    if isinstance(value, File | Mapping):
        return validated(value, info).read()
    return _bytes(value) if isinstance(value, str) else value


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise ValueError("must be a file: upload it as multipart/form-data, or write it in base64")
    try:
        return base64.b64decode(value.translate(_URL_SAFE), validate=True)
    except binascii.Error as error:
        raise ValueError("is not base64; a file can also be uploaded as multipart/form-data") from error


def _fetched(blobs: Blobs, reference: str, file: BinaryIO) -> None:
    blobs.fetch(reference, file)
