"""Following a replay to its end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from runtime.cli.client import Client, Refused, Unreachable
from runtime.cli.display import Display

_POLL_SECONDS = 0.5
_LINE_SECONDS = 10.0
_TAKEN_SECONDS = 5.0
"""A `triggers` process takes on a replay within a second or two."""

_PATIENCE_SECONDS = 60.0
"""The gateway or its broker may be away for so long; the replay does not mind."""


def follow(client: Client, path: str, display: Display) -> dict[str, Any]:
    """Show how far it is until it has ended; its last answer. Raises Refused, Unreachable."""
    answered, said, line = time.monotonic(), 0.0, ""
    while True:
        try:
            told: dict[str, Any] = client.get(path)
        except (Refused, Unreachable) as error:
            away = not isinstance(error, Refused) or error.status == 503
            if not away or time.monotonic() - answered > _PATIENCE_SECONDS:
                raise
        else:
            answered = time.monotonic()
            if told["state"] in ("done", "cancelled"):
                return told
            total = None if told["state"] == "counting" else max(told["total"], told["settled"])
            display.progress({"done": told["settled"], "total": total, "message": sentence(told)})
            if not display.draws and time.monotonic() - said > _LINE_SECONDS and line != sentence(told):
                said, line = time.monotonic(), sentence(told)
                display.line(line)
        time.sleep(_POLL_SECONDS)


def sentence(told: Mapping[str, Any]) -> str:
    """How far it is, for people."""
    counting = told["state"] == "counting"
    parts = [
        f"counting, {told['total']} objects so far" if counting else f"{told['settled']} of {told['total']} objects"
    ]
    for ended, words in ((False, "under way"), (True, "under way when it ended")):
        jobs = [one for one in told["triggers"] if (one["ended"] is not None) == ended]
        if out := sum(one["handed"] - one["settled"] for one in jobs):
            parts.append(f"{out} {words}")
    if told["failed"]:
        parts.append(f"{told['failed']} failed")
    late = time.time() - told["started"] > _TAKEN_SECONDS
    for one in told["triggers"]:
        if one["ended"] is None and (one["paused"] or (one["begun"] is None and late)):
            parts.append(f"{one['trigger']} {'is paused' if one['paused'] else 'waits for a triggers process'}")
    return ", ".join(parts)
