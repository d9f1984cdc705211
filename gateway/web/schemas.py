"""Arguments against the JSON Schemas of the deployed functions, compiled when they are needed first."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from runtime.deployment.deployment import Deployment
from runtime.errors import FieldError, InvalidArguments

if TYPE_CHECKING:
    import jsonschema_rs
from runtime.config.schema_errors import errors_of
from runtime.values.nearest import nearest

_MOST = 50  # errors in one answer: a list of a million bad items is one mistake


class Schemas:
    """The compiled schemas of one deployment. A schema that cannot be compiled checks nothing here: the worker does."""

    def __init__(self, deployment: Deployment) -> None:
        self._functions = deployment.functions
        self._validators: dict[str, jsonschema_rs.Validator | None] = {}

    def check(self, function: str, arguments: Mapping[str, Any]) -> None:
        """Raises InvalidArguments with every bad field."""
        if function not in self._validators and function in self._functions:
            self._validators[function] = _compiled(self._functions[function].schema)
        validator = self._validators.get(function)
        if validator is None or validator.is_valid(arguments):
            return
        schema = self._functions[function].schema
        found = itertools.islice(itertools.chain.from_iterable(map(errors_of, validator.iter_errors(arguments))), _MOST)
        raise InvalidArguments([field for error in found for field in _fields(error, schema)])


def _compiled(schema: dict[str, Any]) -> jsonschema_rs.Validator | None:
    import jsonschema_rs  # for calls only

    with contextlib.suppress(ValueError, jsonschema_rs.ReferencingError):
        return jsonschema_rs.Draft202012Validator(schema)
    return None


def _fields(error: jsonschema_rs.ValidationError, schema: Mapping[str, Any]) -> list[FieldError]:
    import jsonschema_rs

    kinds, kind, path = jsonschema_rs.ValidationErrorKind, error.kind, list(error.instance_path)
    if isinstance(kind, kinds.Required):
        return [FieldError(show([*path, kind.property]), "is missing")]
    if isinstance(kind, kinds.AdditionalProperties):
        known = _siblings(schema, error.schema_path)
        hint = "is not known here"
        return [FieldError(show([*path, name]), f"{hint}{nearest(name, known)}") for name in kind.unexpected]
    message = error.message
    if isinstance(kind, kinds.AnyOf):
        branches = (branch[0].message for branch in kind.context if branch)
        message = "; and ".join(dict.fromkeys(_short(text) for text in branches)) or message
    return [FieldError(show(path) or "arguments", _short(message))]


def _siblings(schema: Any, path: Sequence[str | int]) -> list[str]:
    """The properties that stand beside the `additionalProperties` at the end of `path`."""
    try:
        for part in path[:-1]:
            schema = schema[part]
        return list(schema.get("properties", ()))
    except (KeyError, IndexError, TypeError, AttributeError):
        return []


def _short(message: str) -> str:
    return message if len(message) <= 300 else f"{message[:200]} … {message[-80:]}"


def show(path: Sequence[str | int]) -> str:
    """`documents[0].text`"""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text
