"""What is deployed: the settings, and every function with its description."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from runtime.config import Function, Settings
from runtime.config_check import nearest
from runtime.describe import describe
from runtime.errors import FunctionNotFound, HandlerError


@dataclass(frozen=True, slots=True)
class Deployed:
    """A function as it is known without importing it. `error` says why it could not be loaded."""

    spec: Function
    schema: dict[str, Any] = field(default_factory=lambda: {"type": "object"})
    returns: dict[str, Any] | None = None
    doc: str = ""
    accepts: frozenset[str] = frozenset()
    open: bool = False
    """It takes any keyword argument (**kwargs)."""
    error: str | None = None

    def takes(self, name: str) -> bool:
        return self.open or name in self.accepts

    def objects_parameter(self, given: Collection[str] = ()) -> str | None:
        """Under which name a bucket trigger hands out its objects: `objects`, or one of those that code for AWS
        Lambda has, unless `with` (`given`) has a value for it. None: the function takes none of them.
        """
        if self.takes("objects"):
            return "objects"
        return next((name for name in ("Records", "event") if name in self.accepts and name not in given), None)


@dataclass(frozen=True, slots=True)
class Deployment:
    """Settings and functions, as one value that is replaced whole at a reload."""

    settings: Settings
    functions: Mapping[str, Deployed]

    def find(self, name: str) -> Deployed:
        """Raises FunctionNotFound, whose message names the nearest function."""
        try:
            return self.functions[name]
        except KeyError:
            raise FunctionNotFound(f"There is no function {name}{nearest(name, self.functions)}") from None


def describe_project(settings: Settings, environ: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Describe all functions of a project in a child process. Raises HandlerError."""
    handlers = {name: spec.handler for name, spec in settings.project.functions.items()}
    gathered = [name for name, spec in settings.project.functions.items() if spec.gather]
    return describe(settings.root, handlers, environ, gathered)


def build_deployment(settings: Settings, description: Mapping[str, Mapping[str, Any]]) -> Deployment:
    """Join settings and description. A function that the description lacks says so in its `error`."""
    functions = {}
    for name, spec in settings.project.functions.items():
        found = dict(description.get(name) or {"error": "it has not been described yet"})
        found["accepts"] = frozenset(found.get("accepts", ()))
        functions[name] = Deployed(spec=spec, **found)
    return Deployment(settings, functions)


def load_deployment(settings: Settings, environ: Mapping[str, str]) -> Deployment:
    """The deployment from the description that a supervisor left, or from one made now. Raises HandlerError."""
    if settings.description is None:
        return build_deployment(settings, describe_project(settings, environ))
    try:
        return build_deployment(settings, json.loads(settings.description.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise HandlerError(f"the description {settings.description} cannot be read: {error}") from error
