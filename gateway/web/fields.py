"""What a request names, as a checked model: query parameters and JSON bodies, with every bad field in one answer."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema

from gateway.web.schemas import show
from runtime.errors import FieldError, InvalidArguments
from runtime.values.nearest import nearest
from runtime.values.units import parse_duration

M = TypeVar("M", bound=BaseModel)
_FAR = 1e11
"""No instant is further from the epoch than 3,000 years; this also leaves out NaN."""


class Given(BaseModel):
    """The base of such models: a name that is not known is an error with a suggestion, never ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def parse(model: type[M], given: Mapping[str, Any], at: str = "") -> M:
    """The model of what was given. Raises InvalidArguments; its fields begin with `at` (`tasks[3]`)."""
    try:
        return model.model_validate(dict(given))
    except ValidationError as error:
        found = [(show(one["loc"]), _message(one, model)) for one in error.errors(include_url=False)]
    raise InvalidArguments([FieldError(f"{at}.{name}" if at else name, message) for name, message in found])


def moment(value: Any) -> float:
    """Seconds since the epoch: a number, a duration that is counted back from now (`2h`), or an ISO 8601 instant."""
    text = str(value).strip()
    for read in (float, _ago, _instant):
        try:
            found = read(text)
        except (ValueError, OverflowError):
            continue
        if abs(found) < _FAR:
            return found
    raise ValueError(f"{text!r} is no time; write a duration like 2h or 7d, or an instant like 2026-03-01T12:00:00Z")


def _priority(value: Any) -> Any:
    """0–9; the message says so for what lies outside."""
    if isinstance(value, int) and not isinstance(value, bool) and not 0 <= value <= 9:
        raise ValueError(f"{value} is no priority; priorities are 0–9, and 9 runs first")
    return value


def _ago(text: str) -> float:
    return time.time() - parse_duration(text)


def _instant(text: str) -> float:
    found = datetime.fromisoformat(text)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


Priority = Annotated[
    int, Field(strict=True, json_schema_extra={"minimum": 0, "maximum": 9}), BeforeValidator(_priority)
]
Moment = Annotated[float, BeforeValidator(moment), WithJsonSchema({"type": ["string", "number"]})]


def _message(found: Any, model: type[BaseModel]) -> str:
    if found["type"] == "extra_forbidden" and len(found["loc"]) == 1:
        return f"is not known here{nearest(str(found['loc'][0]), model.model_fields)}"
    if found["type"] == "missing":
        return "is missing"
    message: str = found["msg"]
    return message.removeprefix("Value error, ")
