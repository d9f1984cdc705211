"""What the embedder takes from functions.yaml, and how it says that it lives."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.errors import ConfigError

if TYPE_CHECKING:
    from runtime.embedding.library import Library

log = logging.getLogger("tundish.embedder")


@contextlib.contextmanager
def presence(environ: Mapping[str, str]) -> Iterator[Callable[[bool, str], None]]:
    """Say on the broker that this process lives, where a broker is known."""
    from runtime.broker.connection import connect
    from runtime.broker.presence import Presence
    from runtime.config.load import load_settings
    from runtime.telemetry import logs

    try:
        settings = load_settings(environ)
        logs.setup_for(settings, "embedder", environ)
        url = settings.broker_url
    except ConfigError as error:
        log.warning("functions.yaml has errors; this process needs only the broker's address from it: %s", error)
        url = environ.get("CELERY_BROKER_URL") or environ.get("REDIS_URL") or ""
    if not url:
        yield lambda ready, detail: None
        return
    with connect(url) as client:
        presence = Presence(client, "embedder", f"{socket.gethostname()}-{os.getpid()}").start()
        try:
            yield lambda ready, detail: presence.set(ready=ready, detail=detail)
        finally:
            presence.stop()


def models(environ: Mapping[str, str]) -> Library:
    """The models of functions.yaml as it is now; the built-in one alone where it has errors."""
    from runtime.config.load import load_settings
    from runtime.embedding.library import Library, library

    try:
        return library(load_settings(environ), queries=True)
    except ConfigError:
        return Library({}, Path(), queries=True)


def searched(environ: Mapping[str, str]) -> bool:
    """Whether functions.yaml names an index or a model; what else there is to be searched shows later."""
    from runtime.config.load import load_settings

    try:
        project = load_settings(environ).project
    except ConfigError:
        return True
    return bool(project.indexes or project.models or any(trigger.index for _, trigger in project.bucket_triggers()))
