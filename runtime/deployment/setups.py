"""`setup:` of functions: called once in each process, before the first call that needs it."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runtime.config.settings import Function
from runtime.deployment.async_loop import AsyncLoop
from runtime.deployment.environment import variables
from runtime.deployment.loader import load_handler
from runtime.errors import HandlerError, SetupFailed


class Setups:
    """What the setups of one process returned. Functions with the same setup, env and secrets share it.

    A setup that failed is called again by the next call. Made before a fork, it is empty in every child.
    """

    def __init__(self, root: Path, loop: AsyncLoop) -> None:
        self._root, self._loop = root, loop
        self._states: dict[tuple[object, ...], Any] = {}
        self._lock = threading.RLock()

    def load(self, spec: Function) -> None:
        """Import it, so that a child runs the code that its elders run. Raises HandlerError."""
        if spec.setup:
            load_setup(spec.setup, self._root)

    def state(self, spec: Function) -> Any:
        """What the function's setup returned, None without one. Raises HandlerError, SetupFailed."""
        if not spec.setup:
            return None
        key = (spec.setup, *sorted(spec.env.items()), *sorted(spec.secrets.items()))
        if key not in self._states:
            with self._lock:
                if key not in self._states:
                    self._states[key] = self._run(spec, load_setup(spec.setup, self._root))
        return self._states[key]

    def _run(self, spec: Function, setup: Callable[[], Any]) -> Any:
        with variables(spec):
            try:
                result = setup()
                return self._loop.run(result) if inspect.isawaitable(result) else result
            except Exception as error:
                if type(error).__name__ == "SoftTimeLimitExceeded":  # the call's time is up, whoever used it
                    raise
                message = (
                    f"setup {spec.setup} failed, and is tried again by the next call: {type(error).__name__}: {error}"
                )
                raise SetupFailed(message) from error


def load_setup(setup: str, root: Path) -> Callable[[], Any]:
    """The callable that `setup:` names. Raises HandlerError for one that wants arguments."""
    found = load_handler(setup, root)
    needed = [one.name for one in inspect.signature(found).parameters.values() if _is_needed(one)]
    if needed:
        raise HandlerError(f"setup {setup} wants arguments ({', '.join(needed)}); it is called without any")
    return found


def _is_needed(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty and parameter.kind not in (
        parameter.VAR_POSITIONAL,
        parameter.VAR_KEYWORD,
    )
