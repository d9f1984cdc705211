"""Files among the arguments of a call that a function makes: as documents, large ones in the store."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from runtime.file import File
from runtime.file_document import document
from runtime.invocations.blobs import Blobs

INLINE_BYTES = 32 * 2**10
"""A file up to this size lies in the record of the call."""


class _Packed(dict[str, Any]):
    """The document of a file that was given as a value: no text that somebody sent can be one."""


def packed(arguments: Mapping[str, Any], blobs: Blobs) -> Mapping[str, Any]:
    """The arguments with their files as documents; those without files as they are.

    A large file goes to the store under the hash of its bytes: a function that is repeated writes the same again.
    Raises StoreDown, StoreDenied and ObjectMissing where the store does not take it.
    """
    if not any(_holds_file(value) for value in arguments.values()):
        return arguments
    return {name: _packed(value, blobs) for name, value in arguments.items()}


def shown(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same for a look at the schema: base64 of nothing stands for every file."""
    return {name: _shown(value) for name, value in arguments.items()}


def _holds_file(value: Any) -> bool:
    return isinstance(value, File | bytes) or (isinstance(value, list | tuple) and any(map(_holds_file, value)))


def _packed(value: Any, blobs: Blobs) -> Any:
    if isinstance(value, bytes):
        value = File(value)
    if isinstance(value, File):
        return _Packed(_document(value, blobs))
    return [_packed(item, blobs) for item in value] if isinstance(value, list | tuple) else value


def _shown(value: Any) -> Any:
    if isinstance(value, _Packed):
        return ""
    return [_shown(item) for item in value] if isinstance(value, list | tuple) else value


def _document(file: File, blobs: Blobs) -> dict[str, Any]:
    if file.reference is not None:
        return document(file, ref=file.reference)
    if file.size is None:  # something open can be read once; to be named by its hash it is read twice
        file = File(file.read(), file.name, file.content_type)
    if file.size is not None and file.size <= INLINE_BYTES:
        return document(file, data=file.read())
    with file.open() as data:
        place = f"arguments/{hashlib.file_digest(data, 'sha256').hexdigest()}"  # type: ignore[arg-type]
    with file.open() as data:
        blobs.put_file(place, data, file.size, file.content_type)
    return document(file, ref=place)
