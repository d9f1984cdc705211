"""Ending calls of functions that nobody declares any more."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping

import redis

from runtime.broker import scripts
from runtime.deployment.deployment import Deployment
from runtime.invocations.invocation import Invocation, limits
from runtime.invocations.submit import now_ms

ABANDON_SECONDS = 600.0
"""How long they wait for their function to come back."""

log = logging.getLogger("tundish.reaper")


def abandon(client: redis.Redis, deployment: Deployment, found: Invocation, fields: Mapping[bytes, bytes]) -> bool:
    """End a call of a function that is gone. Not at once: other hosts may know it already, or still."""
    if now_ms() / 1000 - found.created < ABANDON_SECONDS:
        return False
    text = f"there is no function {found.function} in functions.yaml any more"
    told = json.dumps({"type": "FunctionNotFound", "message": text, "summary": text})
    expected = (fields[b"state"], fields[b"fence"], fields[b"queued"])
    ends = limits(deployment.settings.project.retention)
    if not scripts.run(client, "conclude", (), [found.id, *expected, *ends, "dead", "error", told]):
        return False
    log.error("%s[%s] dead: %s", found.function, found.id, text)
    return True
