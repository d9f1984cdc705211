"""Measuring the back ends of a machine behind a process that embeds already. `python -m runtime.embedding.behind …`.

A model is measured when all before it are.
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from runtime.embedding import choice
from runtime.embedding.given import Given
from runtime.errors import ServiceFailed
from runtime.host import leash
from runtime.models import backends
from runtime.models import folder as folders

if TYPE_CHECKING:
    from runtime.embedding.backend import SentenceTransformerModels
    from runtime.embedding.library import Library

_NICE = 10
_LOOK_SECONDS = 5.0

log = logging.getLogger("tundish.models")


def begin(models: Sequence[SentenceTransformerModels]) -> subprocess.Popen[bytes] | None:
    """Start to measure what is not known of the models' back ends here; None where there is nothing to measure.

    It ends with this process, or with the thread that began it. Several processes may begin: one measures, and the
    others find what it has found. Of several models it is asked there what is missing: their weights are read for that.
    """
    names, free = backends.usable(), [model for model in models if not model.pinned]
    if not free or names == [backends.EXACT] or (len(free) == 1 and not choice.missing(free[0].given, names)):
        return None
    command = [sys.executable, "-P", "-m", __name__, *(str(model.source.folder) for model in free)]
    try:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=leash.dying_with_parent())  # noqa: PLW1509
    except OSError as error:
        log.warning("back ends are not measured: %s", error)
        return None


def told(models: Library, on_state: Callable[[bool, str], None]) -> Callable[[bool, str], None]:
    """`on_state`; and once the model answers, back ends are measured where nobody did that on this machine yet."""

    def tell(ready: bool, detail: str) -> None:
        on_state(ready, detail)
        if ready and models.in_use:
            Thread(target=_go_over, args=(models,), name="go-over", daemon=True).start()

    return tell


def _go_over(models: Library) -> None:
    child = begin(models.all())
    while child is not None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_LOOK_SECONDS)
            child = None
        models.choose_again()  # one model is measured after the other


def main(arguments: list[str]) -> int:
    from runtime.telemetry import logs

    logs.setup_early("models", os.environ)
    os.nice(_NICE)  # who searches and embeds meanwhile goes first
    failed = False
    for folder in map(Path, arguments):
        try:
            given = Given(folder, folders.weights_hash(folder), folders.longest(folder))
            choice.measured(given, backends.usable())
        except (ServiceFailed, OSError) as error:
            log.warning("%s goes on for the model in %s: %s", backends.EXACT, folder, error)
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
