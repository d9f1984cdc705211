"""Request bodies: read up to a limit while they come, and parsed strictly."""

from __future__ import annotations

import math
import re
from typing import Any

from pydantic_core import from_json
from starlette.requests import Request

from gateway.problems import refuse
from runtime.errors import FieldError, InvalidArguments
from runtime.units import format_size

_JSON = re.compile(r"application/(?:json|[\w.!#$&^-]+\+json)", re.IGNORECASE)
# Numbers that Python reads but msgpack or other programs do not: over 64 bits, or beyond a double.
_SUSPECT = re.compile(rb"\d{19}|[eE]\+?\d{3}")
_INTEGERS = range(-(2**63), 2**64)


class Oversized(Exception):
    """The body is larger than its limit."""


async def read(request: Request, limit: int) -> bytes:
    """The whole body, or 413 as soon as it is known to be larger than `limit` bytes."""
    try:
        return await read_up_to(request, limit)
    except Oversized:
        refuse(413, f"The body is larger than {format_size(limit)} (limits.body in functions.yaml).")


async def read_up_to(request: Request, limit: int) -> bytes:
    """The whole body. Raises Oversized before more than `limit` bytes are held."""
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > limit:
        raise Oversized
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise Oversized
        parts.append(part)
    return b"".join(parts)


async def json_object(request: Request, limit: int) -> dict[str, Any]:
    """A JSON object; an empty body is `{}`. 400, 413, 415, or 422 for numbers that cannot be passed on."""
    data = await read(request, limit)
    if not data:
        return {}
    content_type = request.headers.get("content-type", "application/json").partition(";")[0].strip()
    if not _JSON.fullmatch(content_type):
        refuse(
            415,
            f"The body is {content_type or 'of no type'}; send a JSON object as application/json (curl --json).",
            headers={"Accept-Post": "application/json"},
        )
    try:
        value = from_json(data, allow_inf_nan=False, cache_strings="keys")
    except ValueError as error:
        refuse(400, f"The body is not JSON: {_reason(data, error)}.")
    if not isinstance(value, dict):
        refuse(400, f"The body must be a JSON object whose members are the arguments, found {_kind(value)}.")
    if _SUSPECT.search(data):
        bad = _unfit(value, "")
        if bad:
            raise InvalidArguments(bad)
    return value


def _reason(data: bytes, error: ValueError) -> str:
    try:
        data.decode()
    except UnicodeDecodeError as found:
        return f"it is not UTF-8 (byte {found.start})"
    if data.startswith(b"\xef\xbb\xbf"):
        return "it begins with a byte order mark"
    text = str(error)
    return "it is nested too deep" if text.startswith("recursion") else text


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    return {list: "an array", str: "a string", bool: "a boolean"}.get(type(value), "a number")


def _unfit(value: Any, path: str) -> list[FieldError]:
    if isinstance(value, dict):
        pairs = [(f"{path}.{name}" if path else name, item) for name, item in value.items()]
        return [error for place, item in pairs for error in _unfit(item, place)]
    if isinstance(value, list):
        return [error for position, item in enumerate(value) for error in _unfit(item, f"{path}[{position}]")]
    if type(value) is int and value not in _INTEGERS:
        return [FieldError(path, "is too large for a 64-bit integer; send it as a string")]
    if isinstance(value, float) and not math.isfinite(value):
        return [FieldError(path, "is too large for a number; send it as a string")]
    return []
