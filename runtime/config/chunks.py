"""What a schema cannot say about `chunk:` of an index: no chunk may be longer than what the model reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.errors import ServiceFailed
from runtime.models.folder import BUILT_IN, longest
from runtime.models.place import resolve

if TYPE_CHECKING:
    from runtime.config.schema import FunctionsFile
    from runtime.config.yaml_lines import Path_

BUILT_IN_READS = 256
"""Tokens that the built-in model reads."""

OWN = 2
"""Tokens that a model puts around every text."""


def check_chunks(content: FunctionsFile, root: Path, report: Callable[[Path_, str], None]) -> None:
    """Report every index whose chunks would not be read to their end by the model that it is to get."""
    for index, spec in content.indexes.items():
        if "tokens" not in spec.chunk.model_fields_set:
            continue  # the default is made to fit whatever model there is
        name = spec.model or BUILT_IN
        reads = _reads(content, root, name)
        if reads is not None and spec.chunk.tokens > reads - OWN:
            told = f"the model {name} reads {reads} tokens, {OWN} of them its own: at most {reads - OWN}"
            report(("indexes", index, "chunk", "tokens"), f"{spec.chunk.tokens} is too much, {told}")


def _reads(content: FunctionsFile, root: Path, name: str) -> int | None:
    """Tokens that a model reads; None where it cannot be read, which is told elsewhere."""
    if name == BUILT_IN:
        return BUILT_IN_READS
    model = content.models.get(name)
    try:
        return longest(resolve(model.path, root)) if model else None
    except ServiceFailed:
        return None
