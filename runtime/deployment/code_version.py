"""Which code a worker runs, in eight hex digits: the same on every host with the same functions, another when changed.

It stands in every record that the worker begins and with the worker itself, so that a roll-out over many hosts can be
followed: who still runs the old code, and which calls did.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from runtime.config.settings import Function
from runtime.deployment.imports import Imports

_DIGITS = 8
_OF_THE_HOST = frozenset({"secrets"})
"""Where they are on each host is no part of what runs."""


def code_version(root: Path, functions: Mapping[str, Function]) -> str:
    """Of these functions as they are declared and written now. Code of installed packages does not count."""
    digest, root, imports = hashlib.sha256(), root.resolve(), Imports(root.resolve())
    files = set[Path]()
    for _, spec in sorted(functions.items()):
        digest.update(spec.model_dump_json(exclude=set(_OF_THE_HOST)).encode())
        files |= imports.files(spec).files
    for path in sorted(files):
        name = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
        try:
            content = path.read_bytes()
        except OSError:  # it is being written, or it is gone
            content = b""
        digest.update(f"\n{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:_DIGITS]


def of_queue(root: Path, functions: Mapping[str, Function], queue: str | None) -> str:
    """Of the functions whose calls wait in a queue; of all, where none is named."""
    return code_version(root, {name: spec for name, spec in functions.items() if queue in (None, spec.queue)})
