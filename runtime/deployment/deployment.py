"""What is deployed: the settings, and every function with its description."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from runtime.config import snapshot
from runtime.config.settings import Function, Project, Settings, Style
from runtime.errors import FunctionNotFound, HandlerError
from runtime.values.nearest import nearest

UNMADE = "the environment that it requires is not made yet"
"""The error of a function that nobody has looked at for want of its environment."""


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
    style: Style = "plain"
    """How its handler is called, as it is written or as its parameters say."""
    error: str | None = None

    def takes(self, name: str) -> bool:
        return self.open or name in self.accepts

    def objects_parameter(self, given: Collection[str] = ()) -> str | None:
        """Under which name a bucket trigger hands out its objects: `objects`, or one of those that code for AWS
        Lambda has, unless `with` (`given`) has a value for it. None: the function takes none of them.
        """
        if self.style in ("lambda", "lambda_http"):
            return "Records"
        if self.takes("objects"):
            return "objects"
        return next((name for name in ("Records", "event") if name in self.accepts and name not in given), None)


@dataclass(slots=True)
class Deployment:
    """Settings and functions, as one value that is replaced whole at a reload."""

    settings: Settings
    functions: Mapping[str, Deployed]

    def become(self, other: Deployment) -> None:
        """Take another one's place, for all who hold this one: a worker whose own code has not changed."""
        self.settings, self.functions = other.settings, other.functions

    def find(self, name: str) -> Deployed:
        """Raises FunctionNotFound, whose message names the nearest function."""
        try:
            return self.functions[name]
        except KeyError:
            raise FunctionNotFound(f"There is no function {name}{nearest(name, self.functions)}") from None


def describe_project(
    settings: Settings,
    environ: Mapping[str, str],
    say: Callable[[str], None] = lambda _: None,
    ask: Callable[..., dict[str, dict[str, Any]]] | None = None,
    *,
    make: bool = True,
) -> dict[str, dict[str, Any]]:
    """Describe all functions of a project, in a child process for each of its environments. Raises HandlerError.

    Environments that are missing are made first, which `say` tells of; without `make` their functions have an error
    instead. `ask` is what asks such a child.
    """
    from runtime.deployment import environments  # what describes is not needed where a supervisor has done it
    from runtime.deployment.describe import describe
    from runtime.deployment.describe_function import request_for

    ask = ask or describe
    failed = environments.prepare_all(settings, say) if make else environments.unmade(settings)
    described: dict[str, dict[str, Any]] = {}
    told: dict[str, dict[str, Any]] = {}
    for name, spec in settings.project.functions.items():
        if spec.queue in failed:
            described[name] = {"error": failed[spec.queue] or UNMADE}
        else:
            told.setdefault(environments.python_of(settings, spec.queue), {})[name] = request_for(spec)
    for python, functions in told.items():
        described |= ask(settings.root, functions, environ, python)
    return described


def build_deployment(settings: Settings, description: Mapping[str, Mapping[str, Any]]) -> Deployment:
    """Join settings and description. A function that the description lacks says so in its `error`."""
    functions = {}
    for name, spec in settings.project.functions.items():
        found = dict(description.get(name) or {"error": "it has not been described yet"})
        found["accepts"] = frozenset(found.get("accepts", ()))
        functions[name] = Deployed(spec=spec, **found)
    return Deployment(settings, functions)


def described(deployment: Deployment) -> dict[str, dict[str, Any]]:
    """The descriptions of a deployment, as `build_deployment` takes them."""
    fields = ("schema", "returns", "doc", "open", "style", "error")
    return {
        name: {"accepts": sorted(found.accepts), **{field: getattr(found, field) for field in fields}}
        for name, found in deployment.functions.items()
    }


def load_deployment(settings: Settings, environ: Mapping[str, str]) -> Deployment:
    """The deployment from the description that a supervisor left, or from one made now. Raises HandlerError."""
    if settings.description is None:
        return build_deployment(settings, describe_project(settings, environ))
    return build_deployment(settings, snapshot.read_functions(settings.description))


class Follower:
    """Keeps the deployment of a worker at what the supervisor took over last, as long as its own queue is the same.

    A worker whose own functions changed is about to be replaced, and finishes with what it has.
    """

    def __init__(self, deployment: Deployment, queue: str | None) -> None:
        self._deployment, self._queue = deployment, queue
        self._path = deployment.settings.description
        self._place = str(self._path)
        self._version = snapshot.version(snapshot.newest(self._path)) if self._path else 0

    def look(self) -> None:
        """Read the snapshot if it is a newer one: one stat where it is not. What cannot be read changes nothing."""
        if self._path is None or (found := snapshot.version(self._place)) <= self._version:
            return
        self._version = found
        with contextlib.suppress(HandlerError):
            project = snapshot.read_project(self._path)
            if self._queue is None or work_of(project, self._queue) == work_of(
                self._deployment.settings.project, self._queue
            ):
                settings = self._deployment.settings.model_copy(update={"project": project})
                self._deployment.become(build_deployment(settings, snapshot.read_functions(self._path)))


def work_of(project: Project, queue: str) -> tuple[object, ...]:
    """All that a worker of `queue` depends on, of what is declared. Who calls its functions is not among it."""
    functions = {
        name: spec.model_copy(update={"http": False, "crons": (), "buckets": (), "role": "invoke"})
        for name, spec in project.functions.items()
        if spec.queue == queue
    }
    common = project.model_copy(update={"queues": {}, "functions": {}})
    return project.queues.get(queue), functions, common
