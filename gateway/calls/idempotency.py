"""Idempotency keys: whose call it is, and whether it is the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

from gateway.web import principal
from runtime.invocations.submit import Idempotency

REPLAYED = {"Idempotency-Replayed": "true"}


def caller_of(request: Request) -> str:
    """Who calls. Whoever authenticates requests says it in `request.state.caller`."""
    return str(getattr(request.state, "caller", "anonymous"))


def of(request: Request, function: str, arguments: Mapping[str, Any], *key: str) -> Idempotency:
    """The key of a call: one for each tenant, function and caller. `key` has the parts that a caller chose."""
    whose = json.dumps([principal.of(request).tenant, function, caller_of(request), *key])
    body = json.dumps(arguments, sort_keys=True, separators=(",", ":"))
    return Idempotency(_digest(whose), _digest(body))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
