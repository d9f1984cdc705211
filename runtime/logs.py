"""How every process writes its log: to stderr, one line `HH:MM:SS LEVEL name message`."""

from __future__ import annotations

import logging
import sys


def setup(name: str, level: str | int = "INFO") -> logging.Logger:
    """Send all logging of this process to stderr and return the process's own logger. Call it once, from an entry."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s %(message)s", "%H:%M:%S"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for chatty in ("httpx", "watchfiles", "asyncio", "faiss", "sentence_transformers", "uvicorn"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))
    # The store and the broker say in one sentence of their own that somebody is away.
    logging.getLogger("urllib3").setLevel(max(logging.ERROR, root.level))
    return logging.getLogger(name)
