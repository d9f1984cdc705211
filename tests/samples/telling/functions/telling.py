"""Functions that say something, in every way that there is."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from dataclasses import dataclass

from celery.utils.log import get_task_logger

from runtime.context import Context


def talk(word: str, *, context: Context) -> str:
    print("printed", word)
    print("to stderr", word, file=sys.stderr)
    context.log.info("logged %s", word, extra={"order": 7, "smtp_password": word})
    logging.getLogger("theirs").warning("by %s", os.environ["API_TOKEN"])
    get_task_logger(__name__).info("in Celery's way %s", word)
    thread = threading.Thread(target=lambda: context.log.info("from a thread %s", word))
    thread.start()
    thread.join()
    os.write(1, b"straight to the descriptor\n")
    hidden = "-".join(["sesame", "open"])  # a traceback shows the lines of the source as they are
    try:
        raise ConnectionError(f"redis://user:{hidden}@host:1 is away")
    except ConnectionError:
        context.log.exception("caught")
    return word


def after(*, context: Context) -> str:
    context.log.info("after %d", len(context.parents))
    return context.trace or ""


def parent(*, context: Context) -> list[str]:
    return list(context.map("after", [{}, {}]))


def flaky(*, context: Context) -> int:
    if context.attempt == 1:
        raise ValueError("the first attempt always fails")
    return context.attempt


def spanned(*, context: Context) -> str:
    """Its own use of OpenTelemetry."""
    from opentelemetry import trace

    with trace.get_tracer("theirs").start_as_current_span("their own"):
        return context.trace or ""


@dataclass(frozen=True)
class Item:
    number: int


def score(items: list[Item], *, context: Context) -> list[int]:
    time.sleep(0.2)  # the next ones gather meanwhile
    context.log.info("scored %d", len(items))
    return [item.number for item in items]
