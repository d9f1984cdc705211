"""`env` and `secrets` of a function, as environment variables while it runs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from runtime.config import Function


@contextlib.contextmanager
def variables(spec: Function) -> Iterator[None]:
    """Set them for the time of one call; only pools that run one call at a time get here with any."""
    if not spec.env and not spec.secrets:
        yield
        return
    added = {**spec.env, **{name: file.read_text().rstrip("\n") for name, file in spec.secrets.items()}}
    before = {name: os.environ.get(name) for name in added}
    os.environ.update(added)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
