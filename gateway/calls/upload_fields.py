"""Which parameters of a function take uploads, and what a form's texts mean to the others. Pure: schemas in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from runtime.file_document import UPLOAD


@dataclass(frozen=True, slots=True)
class Upload:
    """A parameter that takes uploads. `kinds` are the media types that it takes; none: all."""

    name: str
    stand_in: Any
    """What passes for an upload when the arguments are checked."""
    many: bool = False
    kinds: tuple[str, ...] = ()
    required: bool = False

    def takes(self, media_type: str) -> bool:
        family = media_type.partition("/")[0]
        return not self.kinds or bool({media_type, f"{family}/*", "*/*"} & set(self.kinds))


def uploads(schema: Mapping[str, Any]) -> dict[str, Upload]:
    """The parameters of a function that take uploads, by name."""
    required, found = schema.get("required", ()), dict[str, Upload]()
    for name, part in schema.get("properties", {}).items():
        one, many = _uploaded(part)
        if one is not None:
            kinds = tuple(kind.strip() for kind in one.get("contentMediaType", "").split(",") if kind.strip())
            stand_in = "" if one[UPLOAD] == "bytes" else {"data": ""}
            found[name] = Upload(name, stand_in, many, kinds, name in required)
    return found


def of_body(found: Mapping[str, Upload]) -> Upload | None:
    """The one parameter that a raw body is for: the only one, or the only one that must be given."""
    required = [one for one in found.values() if one.required]
    few = list(found.values()) if len(found) == 1 else required
    return few[0] if len(few) == 1 and not few[0].many else None


def value_of(texts: Sequence[str], schema: Mapping[str, Any] | None) -> Any:
    """The argument that a form's or a query's texts of one name mean to a parameter.

    Text stays text where the parameter takes text; otherwise it is read as JSON: numbers, booleans, lists, objects.
    """
    kinds = _types(schema or {})
    if "array" in kinds and not (len(texts) == 1 and texts[0].lstrip().startswith("[")):
        return [value_of([text], _items(schema or {})) for text in texts]
    text = texts[-1]
    if not kinds or ("string" in kinds and not (text == "null" and "null" in kinds)):
        return text
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError:
        return text  # it is refused with the parameter's name


def _uploaded(schema: Mapping[str, Any]) -> tuple[Mapping[str, Any] | None, bool]:
    """The schema of the upload in a parameter's schema, and whether it takes a list of them."""
    for part in (schema, *schema.get("anyOf", ())):
        if UPLOAD in part:
            return part, False
        if part.get("type") == "array" and UPLOAD in part.get("items", {}):
            return part["items"], True
    return None, False


def _types(schema: Mapping[str, Any]) -> set[str]:
    if "$ref" in schema:
        return {"object"}
    if "enum" in schema and "type" not in schema:
        return {"string"}
    own = schema.get("type", ())
    kinds = {own} if isinstance(own, str) else set(own)
    return kinds.union(*(_types(part) for part in schema.get("anyOf", ())))


def _items(schema: Mapping[str, Any]) -> Mapping[str, Any] | None:
    parts = (schema, *schema.get("anyOf", ()))
    found: Mapping[str, Any] = next((part for part in parts if part.get("type") == "array"), {})
    items = found.get("items")
    return items if isinstance(items, Mapping) else None
