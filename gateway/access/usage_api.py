"""`GET /api/v1/usage`: what tenants have used in a month, and what of their limits is left."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import Field
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from gateway import state
from gateway.access import tenancy
from gateway.web import principal
from gateway.web.fields import Given, parse
from gateway.web.problems import refuse
from runtime.callers import usage


class Query(Given):
    """Which month (2026-03, in UTC; else this one), and which tenant (else all that the caller may see)."""

    month: Annotated[str, Field(pattern=f"^{usage.MONTH.pattern}$")] | None = None
    tenant: str | None = None


async def listing(request: Request) -> Response:
    """Calls, seconds, documents and bytes by tenant, and what is left to the key that asks. A key of a tenant sees its
    own, and 404 for others."""
    gateway, query = state.of(request), parse(Query, request.query_params)
    month = query.month or f"{datetime.now(UTC):%Y-%m}"
    who, mine = principal.of(request), tenancy.only(request)

    def look() -> tuple[list[dict[str, Any]], dict[str, Any]]:
        known = usage.tenants(gateway.sync_redis, gateway.project) if mine is None else [mine]
        if query.tenant is not None:
            if query.tenant not in known:
                refuse(404, f"There is no tenant {query.tenant} that has used anything.")
            known = [query.tenant]
        tenants = usage.read(gateway.sync_redis, gateway.project, known, month)
        return tenants, usage.of_keys(gateway.sync_redis, gateway.project, {who.name: who.tenant})[who.name]

    tenants, left = await gateway.in_thread(look)
    told = {"month": month, "tenants": tenants, "key": {"name": who.name, **left}}
    return Response(to_json(told), headers={"Cache-Control": "no-store"}, media_type="application/json")
