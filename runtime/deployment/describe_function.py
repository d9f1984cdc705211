"""What one function accepts and returns, by loading it: the work of the describing process."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runtime.config.settings import Function
from runtime.deployment.environment import exported, values
from runtime.deployment.gathered_signature import GatheredSignature
from runtime.deployment.loader import load_handler
from runtime.deployment.setups import load_setup
from runtime.deployment.signature import Signature
from runtime.errors import HandlerError
from runtime.styles.adapt import adapt


def request_for(spec: Function) -> dict[str, Any]:
    """All that the describing process needs to know of a function, as JSON, or why a secret cannot be read."""
    try:
        env: Mapping[str, str] | str = values(spec)
    except HandlerError as error:
        env = str(error)
    told = {"handler": spec.handler, "gathered": spec.gather is not None, "style": spec.style, "setup": spec.setup}
    return {**told, "env": env}


def describe_function(root: Path, told: Mapping[str, Any]) -> dict[str, Any]:
    """`{schema, returns, doc, accepts, open, style, error}` of what `request_for` told; `{error}` alone if it fails."""
    try:
        if isinstance(told["env"], str):
            raise HandlerError(told["env"])
        with exported(told["env"]):
            function, style = adapt(load_handler(told["handler"], root), told["style"])
            if told["setup"]:
                load_setup(told["setup"], root)
        signature = GatheredSignature(function) if told["gathered"] else Signature(function)
        return {
            "schema": signature.schema(),
            "returns": signature.returns(),
            "doc": inspect.getdoc(function) or "",
            "accepts": list(signature.names),
            "open": signature.open,
            "style": style,
            "error": None,
        }
    except HandlerError as error:
        return {"error": str(error)}
