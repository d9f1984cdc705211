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
    for chatty in ("urllib3", "httpx", "watchfiles", "asyncio", "faiss", "sentence_transformers"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))
    return logging.getLogger(name)
