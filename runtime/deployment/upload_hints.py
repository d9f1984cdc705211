"""Type hints that files are given to and returned by, and what JSON Schema says of them."""

from __future__ import annotations

import collections.abc
import inspect
import os
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any, BinaryIO, TextIO, Union

from pydantic import BeforeValidator, WithJsonSchema

from runtime.file import File
from runtime.file_document import BYTES_SCHEMA, SCHEMA, validated_bytes

STREAM, FILE = "x-stream", "x-file"
"""In the schema of a result: it comes item by item; it is a body of its own."""

_BYTES = Annotated[bytes, BeforeValidator(validated_bytes), WithJsonSchema(dict(BYTES_SCHEMA))]
_FILES = (bytes, bytearray, memoryview, File, BinaryIO, TextIO)
_STREAMS = (
    collections.abc.Iterator,
    collections.abc.Generator,
    collections.abc.AsyncIterator,
    collections.abc.AsyncGenerator,
)


def parameter_hint(hint: Any) -> Any:
    """A parameter's hint as it is validated: `bytes`, `File` and lists of them take uploads.

    The texts beside a File are the media types that it takes: `Annotated[File, "image/png", "image/jpeg"]`.
    """
    if hint is bytes:
        return _BYTES
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        inner, *notes = arguments
        kinds = [note for note in notes if isinstance(note, str) and "/" in note]
        if inner in (File, bytes) and kinds:
            schema = dict(SCHEMA if inner is File else BYTES_SCHEMA) | {"contentMediaType": ", ".join(kinds)}
            return Annotated[parameter_hint(inner), WithJsonSchema(schema)]
        return hint
    if origin in (Union, types.UnionType):
        return Union[tuple(map(parameter_hint, arguments))]  # noqa: UP007 (made at run time)
    if origin is list and arguments:
        return list[parameter_hint(arguments[0])]  # type: ignore[misc]
    return hint


def result_schema(handler: Callable[..., Any], hint: Any, schema_of: Callable[[Any], Any]) -> dict[str, Any] | None:
    """JSON Schema of a result: of a generator that of its list, of a file that of a body; None: nobody knows."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if inspect.isgeneratorfunction(handler) or inspect.isasyncgenfunction(handler) or (origin or hint) in _STREAMS:
        items = schema_of(arguments[0]) if arguments else None
        listed = {"type": "array", STREAM: True} | ({"items": _without_definitions(items)} if items else {})
        return listed | ({"$defs": items["$defs"]} if items and "$defs" in items else {})
    if is_file(hint):
        return {"type": "string", "contentMediaType": "application/octet-stream", FILE: True}
    return None if hint is None else schema_of(hint)


def is_file(hint: Any) -> bool:
    """Whether a value of this type is answered as a raw body."""
    plain = typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint
    return plain in _FILES or (isinstance(plain, type) and issubclass(plain, os.PathLike | File))


def _without_definitions(schema: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if name != "$defs"}
