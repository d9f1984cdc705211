"""`env` and `secrets` of a function, as environment variables while it is imported and while it runs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping

from runtime.config.settings import Function
from runtime.errors import HandlerError

_NONE = contextlib.nullcontext()


def values(spec: Function) -> dict[str, str]:
    """The variables of a function, secrets read from their files. Raises HandlerError for one that cannot be read."""
    found = dict(spec.env)
    for name, file in spec.secrets.items():
        try:
            found[name] = file.read_text().rstrip("\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise HandlerError(f"the secret {name} cannot be read: {reason} ({file})") from error
    return found


def variables(spec: Function) -> contextlib.AbstractContextManager[None]:
    """Set them for the time of one call; only pools that run one call at a time get here with any.

    Raises HandlerError.
    """
    return exported(values(spec)) if spec.env or spec.secrets else _NONE


@contextlib.contextmanager
def exported(added: Mapping[str, str]) -> Iterator[None]:
    """Set these, and put back what was there."""
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
