"""`/functions` and `/functions/NAME`: what is deployed, with schemas and triggers."""

from __future__ import annotations

from typing import Any

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from gateway import state
from gateway.access import tenancy
from gateway.operations import resting
from runtime.config.settings import Function
from runtime.config.tenants import PER_FOLDER
from runtime.deployment.deployment import Deployed
from runtime.errors import BrokerDown
from runtime.invocations import pause
from runtime.values.units import format_duration


async def listing(request: Request) -> Response:
    """Every function in short, by the order of functions.yaml."""
    gateway = state.of(request)
    functions = [_short(found) for found in gateway.deployment.functions.values()]
    told = resting.mark(functions, gateway.project, await _paused(gateway))
    told = [seen_by(one, tenancy.only(request)) for one in told]
    return Response(to_json({"functions": told}), media_type="application/json")


async def one(request: Request) -> Response:
    """Everything that is known about a function; 404 names the nearest."""
    gateway = state.of(request)
    found = gateway.deployment.find(request.path_params["name"])
    (told,) = resting.mark([describe(found)], gateway.project, await _paused(gateway))
    return Response(to_json(seen_by(told, tenancy.only(request))), media_type="application/json")


async def _paused(gateway: state.Gateway) -> pause.Paused:
    """What rests. What is deployed is told without a broker, too."""
    try:
        return await pause.paused_async(gateway.redis)
    except BrokerDown:
        return {}


def describe(found: Deployed) -> dict[str, Any]:
    """A function with its schemas and policies, as plain data."""
    spec = found.spec
    return _short(found) | {
        "doc": found.doc,
        "style": found.style,
        "setup": spec.setup,
        "schema": found.schema,
        "returns": found.returns,
        "soft_timeout": _duration(spec.soft_timeout),
        "retries": spec.retries.model_dump(mode="json"),
        "on_success": spec.on_success.model_dump(mode="json", by_alias=True) if spec.on_success else None,
        "on_failure": spec.on_failure,
    }


def _short(found: Deployed) -> dict[str, Any]:
    spec = found.spec
    return {
        "name": spec.name,
        "summary": found.doc.strip().partition("\n")[0],
        "handler": spec.handler,
        "queue": spec.queue,
        "priority": spec.priority,
        "timeout": _duration(spec.timeout),
        "role": spec.role,
        "triggers": triggers(spec),
        "error": found.error,
    }


def seen_by(told: dict[str, Any], only: str | None) -> dict[str, Any]:
    """The description of a function, without the triggers of other tenants where `only` names the one that asks."""
    mine = [one for one in told["triggers"] if only is None or one.get("tenant", only) in (only, PER_FOLDER)]
    return told | {"triggers": mine}


def triggers(spec: Function) -> list[dict[str, Any]]:
    """The triggers as functions.yaml has them, defaults filled in."""
    web: list[dict[str, Any]] = [{"http": {"path": f"/function/{spec.name}"}}] if spec.http else []
    crons = [cron.model_dump(mode="json", by_alias=True, exclude_none=True) for cron in spec.crons]
    buckets = [bucket.model_dump(mode="json", by_alias=True, exclude_none=True) for bucket in spec.buckets]
    return [*web, *crons, *buckets]


def _duration(seconds: float | None) -> str | None:
    return None if seconds is None else format_duration(seconds)
