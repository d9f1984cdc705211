"""The describing processes of a system: one for each interpreter that runs functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from runtime.deployment.describer import Describer


class Describers:
    """Makes them when they are first needed, and keeps them."""

    def __init__(self, say: Callable[[str], None] = lambda text: None) -> None:
        """`say` is told of imports that take long."""
        self._say = say
        self._describers: dict[str, Describer] = {}
        self.overtaken: Callable[[], bool] = lambda: False
        """Whether what is being described has changed again."""

    def ask(
        self, root: Path, functions: Mapping[str, Mapping[str, Any]], environ: Mapping[str, str], python: str
    ) -> dict[str, dict[str, Any]]:
        """What `runtime.deployment.describe.describe` does, by a process that is there already. Raises HandlerError."""
        if python not in self._describers:
            self._describers[python] = Describer(environ, python, self._is_overtaken, self._say)
        return self._describers[python].describe(root, functions)

    def _is_overtaken(self) -> bool:
        return self.overtaken()

    def close(self) -> None:
        for describer in self._describers.values():
            describer.close()
