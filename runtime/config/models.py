"""What a schema cannot say about `models:` and `indexes:` of functions.yaml."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.errors import ServiceFailed
from runtime.models import backends
from runtime.models.folder import BUILT_IN
from runtime.models.place import resolve

if TYPE_CHECKING:
    from runtime.config.schema import FunctionsFile
    from runtime.config.yaml_lines import Path_


def check_models(content: FunctionsFile, root: Path, report: Callable[[Path_, str], None]) -> None:
    """Report every model that cannot be used, and every index that names one which is not there."""
    if content.backend != "auto" and (why := backends.trouble(content.backend)):
        report(("backend",), why)
    for name, model in content.models.items():
        if name == BUILT_IN:
            report(("models", name), "is the built-in model; give yours another name")
            continue
        try:
            resolve(model.path, root)
        except ServiceFailed as error:
            report(("models", name), str(error))
        if model.backend not in (None, "auto") and (why := backends.trouble(model.backend)):
            report(("models", name, "backend"), why)
    known = [BUILT_IN, *content.models]
    for index, spec in content.indexes.items():
        if spec.model is not None and spec.model not in known:
            near = difflib.get_close_matches(spec.model, known, 1)
            told = f", did you mean {near[0]}?" if near else f"; there is {', '.join(known)}"
            report(("indexes", index, "model"), f"there is no model {spec.model}{told}")


def check_hybrid(content: FunctionsFile, report: Callable[[Path_, str], None]) -> None:
    """Report every index that is to be searched by words where the library for it is not installed."""
    for index, spec in content.indexes.items():
        if spec.hybrid and find_spec("tantivy") is None:
            report(
                ("indexes", index, "hybrid"),
                "needs the library tantivy, which is not installed here: pip install 'tundish[hybrid]'",
            )
