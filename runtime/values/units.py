"""Durations (`200ms`, `1h30m`) and sizes (`64KiB`, `2GiB`) as people write them."""

from __future__ import annotations

import re
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {
    "B": 1,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)")
_RATE = re.compile(r"(\d+)\s*/\s*((?:\d+(?:\.\d+)?)?(?:ms|s|m|h|d))")
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")


def parse_duration(value: Any) -> float:
    """Seconds in `200ms`, `30s`, `5m`, `1h30m`, `7d`; a bare number is seconds. Raises ValueError."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return float(value)
    text = str(value).strip()
    if not isinstance(value, str) or not _DURATION.fullmatch(text):
        raise ValueError(f"{value!r} is not a duration; write it like 200ms, 30s, 5m or 1h30m")
    return sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(text))


def format_duration(seconds: float) -> str:
    """The shortest way to write a duration that `parse_duration` reads back."""
    if seconds and seconds < 1:
        return f"{seconds * 1000:g}ms"
    whole, parts = round(seconds), []
    if abs(seconds - whole) > 1e-9:
        return f"{seconds:g}s"
    for unit in ("d", "h", "m", "s"):
        count, whole = divmod(whole, int(_SECONDS[unit]))
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def parse_size(value: Any) -> int:
    """Bytes in `64KiB`, `2GiB`, `10MB`; a bare whole number is bytes. Raises ValueError."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if not match or match[2] not in _BYTES:
        raise ValueError(f"{value!r} is not a size; write it like 512KiB, 64MiB or 2GiB")
    return int(float(match[1]) * _BYTES[match[2]])


def format_size(count: int) -> str:
    """The shortest exact way to write a size."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if count and count % _BYTES[unit] == 0:
            return f"{count // _BYTES[unit]}{unit}"
    return f"{count}B"


def parse_share(value: Any) -> float:
    """A share from `10%` or 0.1. Raises ValueError."""
    match = _PERCENT.fullmatch(value.strip()) if isinstance(value, str) else None
    if match:
        value = float(match[1]) / 100
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"{value!r} is not a share; write it like 10% or 0.1")
    return float(value)


class Rate(NamedTuple):
    """At most `limit` calls in `seconds`."""

    limit: int
    seconds: float


def parse_rate(value: Any) -> Rate:
    """`100/m`, `5/s`, `1000/h`, `20/10s`. Raises ValueError."""
    if isinstance(value, Rate):
        return value
    match = _RATE.fullmatch(value.strip()) if isinstance(value, str) else None
    seconds = parse_duration(match[2] if match[2][0].isdigit() else f"1{match[2]}") if match else 0.0
    if not match or int(match[1]) < 1 or not seconds:
        raise ValueError(f"{value!r} is not a rate; write it like 5/s, 100/m or 1000/h")
    return Rate(int(match[1]), seconds)


def format_rate(rate: Rate) -> str:
    """The way to write a rate that `parse_rate` reads back."""
    unit = next((name for name, seconds in _SECONDS.items() if seconds == rate.seconds), None)
    return f"{rate.limit}/{unit or format_duration(rate.seconds)}"


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, when_used="json"),
    WithJsonSchema(
        {
            "type": ["string", "number"],
            "description": "a duration: 200ms, 30s, 5m, 1h30m; a number is seconds",
        }
    ),
]
Size = Annotated[
    int,
    BeforeValidator(parse_size),
    PlainSerializer(format_size, when_used="json"),
    WithJsonSchema({"type": ["string", "integer"], "description": "a size: 64KiB, 2GiB; a number is bytes"}),
]
Share = Annotated[
    float,
    BeforeValidator(parse_share),
    WithJsonSchema({"type": ["string", "number"], "description": "a share: 10% or 0.1"}),
]
RateLimit = Annotated[
    Rate,
    BeforeValidator(parse_rate),
    PlainSerializer(format_rate, when_used="json"),
    WithJsonSchema({"type": "string", "description": "a rate: 5/s, 100/m, 1000/h"}),
]
