"""What a function returned as fields of its record: JSON, or a file, in the record or by reference to the store."""

from __future__ import annotations

import contextlib
import io
import json
import os
from functools import lru_cache
from typing import Any

from runtime.attempts.encode import encode_result
from runtime.attempts.items import Collected
from runtime.errors import ObjectMissing, StoreDenied, StoreDown
from runtime.file import File
from runtime.file_document import document, inline
from runtime.invocations.blobs import RESULT_LIMIT, Blobs, result_name

Fields = dict[str, "str | bytes"]

INLINE_LIMIT = 16 * 2**20
"""Bytes that a record holds where there is no store for them; what is larger needs one."""

_NPY = ("application/x-npy", "application/octet-stream")


class Results:
    """Makes the fields of results; large ones go to `blobs`. Safe to share between threads."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    def fields(self, task_id: str, value: Any, accept: str = "") -> Fields:
        """The fields of a value. `accept` is the media type that a caller prefers for an array.

        Raises TypeError where it has no meaning in JSON, OSError for a file that cannot be read, and StoreDown and
        StoreDenied where it is too large for a record and the store does not take it.
        """
        if isinstance(value, Collected):
            return self._collected(task_id, value)
        file = as_file(value, accept)
        return self._json(task_id, encode_result(value)) if file is None else self._file(task_id, file)

    def value(self, fields: Fields) -> Any:
        """The JSON value that was put into fields."""
        data = fields.get("result")
        return json.loads(self._blobs.get(str(fields["result_ref"])) if data is None else data)

    def _json(self, task_id: str, data: bytes) -> Fields:
        if len(data) > RESULT_LIMIT:
            with contextlib.suppress(StoreDown, StoreDenied, ObjectMissing):
                self._blobs.put(result_name(task_id), data)
                return {"result_ref": result_name(task_id)}
        return {"result": data}

    def _file(self, task_id: str, file: File) -> Fields:
        kind = {"result_type": file.content_type}
        if file.reference:  # it was an argument, or another function's result: it is in the store already
            return {"result": json.dumps(document(file, ref=file.reference)), **kind}
        # Base64 is a third longer.
        if file.size is not None and file.size <= RESULT_LIMIT * 3 // 4:
            return {"result": json.dumps(inline(file)), **kind}
        name = result_name(task_id)
        try:
            with file.open() as data:
                file.size = self._blobs.put_file(name, data, file.size, file.content_type)
        except (StoreDown, StoreDenied, ObjectMissing):
            if file.size is None or file.size > INLINE_LIMIT:
                raise
            return {"result": json.dumps(inline(file)), **kind}
        return {"result": json.dumps(document(file, ref=name)), **kind}

    def _collected(self, task_id: str, found: Collected) -> Fields:
        """The list of a generator's items. Where somebody got them as they came, a list without a place is left out."""
        with found.file as data:
            if found.size <= RESULT_LIMIT:
                return {"result": data.read()}
            try:
                self._blobs.put_file(result_name(task_id), data, found.size, "application/json")
            except (StoreDown, StoreDenied, ObjectMissing):
                if found.size <= INLINE_LIMIT:
                    data.seek(0)
                    return {"result": data.read()}
                if not found.delivered:
                    raise
                return {"result": b"null"}
            return {"result_ref": result_name(task_id)}


def as_file(value: Any, accept: str = "") -> File | None:
    """The file that a result is: bytes, a path, something open, an array that is asked for as .npy; else None."""
    if isinstance(value, File):
        return value
    kind = type(value)
    if _is_content(kind) or (hasattr(kind, "__getattr__") and _is_open(value)):  # type: ignore[arg-type]
        return File(value)
    if accept in _NPY and hasattr(value, "__array_interface__") and hasattr(value, "tolist"):
        import numpy as np

        data = io.BytesIO()
        np.save(data, value, allow_pickle=False)
        return File(data.getvalue(), content_type=accept)
    return None


@lru_cache(1024)  # asked for every result of every call
def _is_content(kind: type) -> bool:
    if issubclass(kind, bytes | bytearray | memoryview | os.PathLike | io.IOBase):
        return True
    return _is_open(kind)


def _is_open(thing: Any) -> bool:
    """What can be read like a file; named temporary files hand that on to another object."""
    return hasattr(thing, "read") and hasattr(thing, "seek")
