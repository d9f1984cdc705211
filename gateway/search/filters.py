"""The `filter` of a search, as it is asked for: checked, with limits, and every bad field named."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, Field, ValidationInfo, WithJsonSchema, field_validator
from pydantic_core import from_json
from starlette.datastructures import QueryParams

from gateway.web.fields import Given, Moment, moment
from runtime.errors import FieldError, InvalidArguments
from runtime.index.filters import Filters, Range, Value
from runtime.values.nearest import nearest
from runtime.values.units import parse_duration

MOST_VALUES = 100
"""Of one field; a search that needs more is one for another field."""

MOST_NAMES = 32
MOST_CHARACTERS = 1024
_LISTED = ("bucket", "prefix", "type", "tenant")
_META = "meta."
T = TypeVar("T")
_LIMITS = ("min", "max")


def _many(given: Any, one: Callable[[Any], T]) -> tuple[T, ...]:
    """One value or a list of them, each as `one` makes it. Raises ValueError."""
    found = given if isinstance(given, list | tuple) else [given]
    if not 1 <= len(found) <= MOST_VALUES:
        raise ValueError(f"give 1 to {MOST_VALUES} values; these are {len(found)}")
    return tuple(one(value) for value in found)


def _text(given: Any) -> str:
    if not isinstance(given, str) or not 1 <= len(given) <= MOST_CHARACTERS:
        raise ValueError(f"write a text of 1 to {MOST_CHARACTERS:,} characters, or a list of such texts")
    return given


def _media_type(given: Any) -> str:
    value = _text(given)
    kind, slash, rest = value.partition("/")
    if not (kind and slash and rest) or "*" in kind or (rest != "*" and "*" in rest):
        raise ValueError(f"{value!r} is no media type; write it like text/markdown, or text/* for all of a kind")
    return value


def _instant(value: Any) -> float:
    """What is counted back from now begins at a whole second, so that such searches are alike for a second."""
    found = moment(value)
    try:
        parse_duration(value if isinstance(value, str) else None)
    except ValueError:
        return found
    return math.floor(found)


def _value(given: Any) -> Value:
    if isinstance(given, bool):
        return "true" if given else "false"
    if isinstance(given, str) and len(given) <= MOST_CHARACTERS:
        return given
    if isinstance(given, Mapping) and given:
        return _range(given)
    if isinstance(given, int | float):
        return _number(given)
    raise ValueError(
        f"write a text of at most {MOST_CHARACTERS:,} characters, a number, true, false, or numbers from and to as "
        '{"min": 2020, "max": 2024}'
    )


def _range(given: Mapping[str, Any]) -> Range:
    for name in given:
        if name not in _LIMITS:
            raise ValueError(f"{name} is not known here{nearest(name, _LIMITS)}; there is min and max")
    low, high = (None if given.get(name) is None else _number(given[name]) for name in _LIMITS)
    if low is not None and high is not None and low > high:
        raise ValueError(f"min ({low:g}) is above max ({high:g})")
    return Range(low, high)


def _number(given: Any) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise ValueError(f"{given!r} is no number")
    try:
        found = float(given)
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise ValueError("numbers must be finite")
    return found


_TEXT = {"type": "string", "minLength": 1, "maxLength": MOST_CHARACTERS}
_TEXTS = {"anyOf": [_TEXT, {"type": "array", "items": _TEXT, "minItems": 1, "maxItems": MOST_VALUES}]}
_ONE = {
    "anyOf": [
        {"type": ["string", "number", "boolean"]},
        {
            "type": "object",
            "properties": {name: {"type": "number"} for name in _LIMITS},
            "additionalProperties": False,
            "minProperties": 1,
        },
    ]
}
_VALUES = {"anyOf": [*_ONE["anyOf"], {"type": "array", "items": _ONE, "minItems": 1, "maxItems": MOST_VALUES}]}
Texts = Annotated[tuple[str, ...], BeforeValidator(partial(_many, one=_text)), WithJsonSchema(_TEXTS)]
Types = Annotated[tuple[str, ...], BeforeValidator(partial(_many, one=_media_type)), WithJsonSchema(_TEXTS)]
Instant = Annotated[Moment, BeforeValidator(_instant)]
Values = Annotated[Any, BeforeValidator(partial(_many, one=_value)), WithJsonSchema(_VALUES)]
Name = Annotated[str, Field(min_length=1, max_length=128)]


class Filter(Given):
    """What a result must be: every field that is given holds, and of several values of one field one does."""

    bucket: Texts | None = None
    prefix: Texts | None = None
    type: Types | None = None
    tenant: Texts | None = None
    since: Instant | None = None
    until: Instant | None = None
    meta: Annotated[dict[Name, Values], Field(max_length=MOST_NAMES)] | None = None

    @field_validator("until")
    @classmethod
    def _not_before(cls, until: float | None, known: ValidationInfo) -> float | None:
        since = known.data.get("since")
        if since is not None and until is not None and until < since:
            raise ValueError("lies before since")
        return until

    def wanted(self, only: str | None = None) -> Filters:
        """As the index is asked; `only`: the one tenant whose rows may be found."""
        timed = self.since is not None or self.until is not None
        return Filters(
            buckets=self.bucket or (),
            prefixes=self.prefix or (),
            types=self.type or (),
            modified=Range(self.since, self.until) if timed else None,
            meta=tuple(sorted((self.meta or {}).items(), key=lambda entry: entry[0])),
            tenants=self._tenants(only),
        )

    def _tenants(self, only: str | None) -> tuple[str, ...]:
        asked = self.tenant or ()
        if only is None:
            return asked
        return (only,) if not asked or only in asked else ("",)  # which no tenant is called


def of_query(params: QueryParams) -> tuple[dict[str, Any], bool]:
    """What a query string asks for, as a body would have it, and whether its filter stands in parameters of its own.

    `filter` is JSON; or `bucket`, `prefix`, `type`, `since`, `until` and `meta.NAME` stand for its fields, each as
    often as there are values. Raises InvalidArguments for both at once.
    """
    given: dict[str, Any] = {}
    fields: dict[str, Any] = {}
    for name in params:
        if name in _LISTED:
            fields[name] = params.getlist(name)
        elif name in ("since", "until"):
            fields[name] = params[name]
        elif name.startswith(_META):
            fields.setdefault("meta", {})[name.removeprefix(_META)] = params.getlist(name)
        else:
            given[name] = params[name]
    if fields and "filter" in given:
        raise InvalidArguments([FieldError("filter", f"give either filter or {', '.join(fields)}")])
    if "filter" in given:
        given["filter"] = _json(given["filter"])
    elif fields:
        given["filter"] = fields
    return given, bool(fields)


def _json(text: str) -> Any:
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError:  # left for the model to refuse
        return text
