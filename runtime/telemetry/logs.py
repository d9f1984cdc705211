"""How every process writes its log: to stderr, a line for people (`HH:MM:SS LEVEL name message`) or one of JSON."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Mapping

from runtime.config.settings import Settings
from runtime.security import redact
from runtime.telemetry import log_format
from runtime.telemetry.log_stream import JsonStream

VARIABLE = "TUNDISH_LOG_FORMAT"


def setup(
    name: str, level: str | int = "INFO", *, form: str = "text", process: str = "", secrets: Iterable[str] = ()
) -> logging.Logger:
    """Send all logging of this process to stderr and return the process's own logger. Call it from an entry.

    `process` is what JSON says of who writes. Values in `secrets` are masked. A second call replaces the first.
    """
    process, hide = process or name, redact.Redactor(secrets)
    _unwrap()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(log_format.formatter(form, process, hide))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_level(level))
    for chatty in ("httpx", "watchfiles", "asyncio", "faiss", "sentence_transformers", "uvicorn"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))
    # Store and broker are said to be away in one sentence of our own; that a collector is, once for a batch of spans.
    for patient in ("urllib3", "opentelemetry"):
        logging.getLogger(patient).setLevel(max(logging.ERROR, root.level))
    if form == "json":
        for stream in ("stdout", "stderr"):
            setattr(sys, stream, JsonStream(getattr(sys, stream), log_format.wrapper(stream, process, hide)))
    return logging.getLogger(name)


def setup_for(settings: Settings, name: str, environ: Mapping[str, str], *, process: str = "") -> logging.Logger:
    """`setup` as the settings of a process want it. Its secrets are read now: a file that changes, at the next call."""
    secrets = redact.known(settings, environ)
    return setup(name, settings.log_level, form=settings.logs.format, process=process, secrets=secrets)


def setup_early(name: str, environ: Mapping[str, str]) -> logging.Logger:
    """`setup` for a process that has no settings (yet): as the environment alone wants it."""
    level, form = environ.get("CELERY_LOG_LEVEL", "INFO"), environ.get(VARIABLE, "text").lower()
    return setup(name, level, form=form, secrets=redact.of_environ(environ))


def _level(level: str | int) -> str | int:
    """Celery leaves the number of a level in CELERY_LOG_LEVEL, for its children."""
    if isinstance(level, str):
        return int(level) if level.isdecimal() else level.upper() or "INFO"
    return level


def _unwrap() -> None:
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, JsonStream):
            setattr(sys, name, stream.below())
