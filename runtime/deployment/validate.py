"""Arguments against a function's JSON Schema, for calls that do not come through the gateway."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import jsonschema_rs

from runtime.config.schema_errors import errors_of
from runtime.deployment.deployment import Deployed
from runtime.errors import FieldError, InvalidArguments

_MAX_ERRORS = 20


def validate(deployed: Deployed, arguments: Mapping[str, Any]) -> None:
    """Check arguments against the function's JSON Schema. Raises InvalidArguments with every bad field."""
    all_of_them = map(errors_of, jsonschema_rs.iter_errors(deployed.schema, dict(arguments)))
    found = itertools.islice(itertools.chain.from_iterable(all_of_them), _MAX_ERRORS)
    errors = [FieldError(_field(error.instance_path) or "arguments", error.message) for error in found]
    if errors:
        raise InvalidArguments(errors)


def _field(path: Sequence[str | int]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text
