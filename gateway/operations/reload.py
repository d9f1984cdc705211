"""`GET /admin/reload`: the newest reload of functions.yaml and its functions, and why it failed, if it did."""

from __future__ import annotations

import json
from typing import Any

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from gateway import state
from runtime import keys


async def newest(request: Request) -> Response:
    """`{"reload": {"at", "ok", "message", "files", "queues"}}`; null where nothing was reloaded yet."""
    found = await state.of(request).redis.get(keys.RELOAD)
    told: dict[str, Any] | None = json.loads(found) if found else None
    return Response(to_json({"reload": told}), headers={"Cache-Control": "no-store"}, media_type="application/json")
