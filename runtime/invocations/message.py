"""Celery's own message, task protocol 2 over kombu's Redis transport, written without importing either.

Field by field as kombu 5.7 writes it (a test holds the two side by side), so that any Celery worker, Flower and
`celery inspect` read it. One header is ours: `tundish` says that a record exists and when it was queued.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import zlib
from binascii import b2a_base64
from collections.abc import Mapping
from functools import lru_cache
from json.encoder import encode_basestring_ascii as _quoted
from typing import Any

import msgpack

from runtime import keys
from runtime.invocations.packed_arguments import LEVEL

HEADER = "tundish"
BUILT = b"1"
"""In a record's field `foreign` in place of the message: there is none that could be sent again as it came."""

_REPR_LIMIT = 1024
_FRAMES = 1000
_EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


def build(
    task_id: str,
    function: str,
    arguments: Mapping[str, Any],
    *,
    queue: str,
    priority: int,
    queued_ms: int,
    root: str,
    parent: str | None = None,
    limits: tuple[float | None, float | None] = (None, None),
    keep_result: bool = False,
) -> bytes:
    """One message for `queue`. `priority` is ours (9 first); `limits` are hard and soft time limit in seconds."""
    body = msgpack.packb(((), dict(arguments), _EMBED), use_bin_type=True, datetime=False)
    tag = _quoted(task_id)
    # What json.dumps would write, in a fifth of its time: every call that is accepted comes through here. The headers
    # are first, and these three first in them: lua/take.lua reads them without the rest, however long that is.
    first, limited, origin, ends, last = _frame(function, queue, priority, *limits, keep_result, os.getpid())
    return (
        f"{first}{tag}{limited}{tag if root == task_id else _quoted(root)}, "
        f'"parent_id": {"null" if parent is None else _quoted(parent)}, '
        f'"argsrepr": "()", "kwargsrepr": {_quoted(_short(arguments))}{origin}{queued_ms}{ends}{tag}{last}'
        # Unique for each delivery: a copy that the reaper made is another delivery.
        f'{tag[:-1]}:{queued_ms}"}}, "body": "{b2a_base64(body, newline=False).decode()}"}}'
    ).encode()


@lru_cache(_FRAMES)
def _frame(
    function: str, queue: str, priority: int, hard: float | None, soft: float | None, keep_result: bool, pid: int
) -> tuple[str, str, str, str, str]:
    """What the messages of a function have in common: what stands before the id, the root, the origin …"""
    return (
        f'{{"headers": {{"lang": "py", "task": {_quoted(function)}, "id": ',
        ', "shadow": null, "eta": null, "expires": null, "group": null, "group_index": null, "retries": 0, '
        f'"timelimit": {json.dumps([hard, soft])}, "root_id": ',
        f', "origin": {_quoted(f"{pid}@{socket.gethostname()}")}, '
        f'"ignore_result": {"false" if keep_result else "true"}, "replaced_task_nesting": 0, "stamped_headers": null, '
        f'"stamps": {{}}, "{HEADER}": ',
        '}, "content-encoding": "binary", "content-type": "application/x-msgpack", "properties": {"correlation_id": ',
        ', "reply_to": "", "delivery_mode": 2, '
        f'"delivery_info": {{"exchange": "", "routing_key": {_quoted(queue)}}}, '
        f'"priority": {keys.transport_priority(priority)}, "body_encoding": "base64", "delivery_tag": ',
    )


def compressed(raw: bytes, over: int | None) -> bytes:
    """A message of ours whose body is compressed as Celery's `task_compression: zlib` does it, if it is larger than
    `over` bytes."""
    if over is None or len(raw) <= over:
        return raw
    message: dict[str, Any] = json.loads(raw)
    small = zlib.compress(base64.b64decode(message["body"]), LEVEL)
    message["body"] = base64.b64encode(small).decode()
    message["headers"]["compression"] = "application/x-gzip"  # kombu's name of zlib
    return json.dumps(message).encode()


def again(raw: bytes, *, priority: int, queued_ms: int) -> bytes:
    """One more delivery of a message that another program sent, with all that its sender put into it (what follows in
    its chain, for example), only that it is recorded now and due. `priority` is ours."""
    message: dict[str, Any] = json.loads(raw)
    headers, properties = message["headers"], message["properties"]
    headers |= {"eta": None, HEADER: queued_ms}
    properties |= {
        "priority": keys.transport_priority(priority),
        "delivery_tag": f"{headers['id']}:{queued_ms}",
    }
    return json.dumps(message).encode()


def queued_at(message: bytes) -> int | None:
    """When one of our messages was queued (ms); None for a message of another program."""
    try:
        value = json.loads(message)["headers"].get(HEADER)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return value if isinstance(value, int) else None


def _short(arguments: Mapping[str, Any]) -> str:
    text = repr(dict(arguments)) if len(arguments) < 50 else f"<{len(arguments)} arguments>"
    return text if len(text) <= _REPR_LIMIT else text[: _REPR_LIMIT - 1] + "…"
