"""A function's result as the bytes of its JSON."""

from __future__ import annotations

from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from runtime.file import File
from runtime.file_document import inline


def encode_result(value: Any) -> bytes:
    """JSON of dataclasses, pydantic models, datetimes, UUIDs, Decimals, sets, numpy values and plain data.

    NaN becomes null, bytes and files become base64. Raises TypeError where a value has no meaning in JSON.
    """
    try:
        return to_json(value, bytes_mode="base64", inf_nan_mode="null", fallback=_plain)
    except (PydanticSerializationError, ValueError, RecursionError) as error:
        reason = str(error).removeprefix("Error calling function `_plain`: ")
        raise TypeError(f"the function returned something that JSON cannot hold: {reason}") from error


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):  # numpy arrays and scalars, without importing numpy
        return value.tolist()
    if isinstance(value, File):
        return inline(value)
    raise TypeError(f"a {type(value).__name__}")
