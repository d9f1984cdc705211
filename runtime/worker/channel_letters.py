"""Messages as they lie in a list: opened on their way out, written again on their way back."""

from __future__ import annotations

import json
import logging
from collections.abc import Container
from typing import Any

from kombu.utils.json import dumps, loads

from runtime.attempts.taking import Begun
from runtime.worker.receiver import Letter

log = logging.getLogger("tundish.channel")


def opened(source: str, queue: str, raw: bytes, begun: Begun | None = None) -> Letter | None:
    """A message as it lies in a list; None, with a word in the log, where it is no message."""
    try:
        # One of ours has nothing in it that only kombu reads.
        payload = json.loads(raw) if begun else loads(raw.decode())
        if isinstance(payload["headers"], dict) and payload["properties"]["delivery_tag"]:
            return Letter(source, queue, payload, begun)
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    log.error("dropped from the list %r: %.200r is not a message that Celery sends", source, raw)
    return None


def again(message: Any) -> tuple[str, str]:
    """A delivered message as it goes back into its list."""
    message._raw["headers"]["redelivered"] = True
    return message.list, dumps(message._raw)


def letter_of(message: Any) -> Letter:
    """A delivered message, as it goes back."""
    message._raw["headers"]["redelivered"] = True
    return Letter(message.list, message.delivery_info["routing_key"], message._raw, message.begun)


def is_running(message: Any, running: Container[str]) -> bool:
    """Whether the call of a delivered message runs. One that has begun and was handed to a process is as good as
    running; the others that have begun wait for one."""
    return bool(message.handed) if message.begun else message.headers.get("id") in running
