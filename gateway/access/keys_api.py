"""`/api/v1/keys`: API keys are made, listed and revoked by administrators; those of a tenant see its keys only."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field, field_validator
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from gateway import state
from gateway.web import body, principal
from gateway.web.fields import Given, parse
from gateway.web.problems import refuse
from runtime.callers import api_keys, usage
from runtime.config.model import Name
from runtime.errors import FieldError, InvalidArguments
from runtime.security.principal import DEFAULT_TENANT, Principal, Role
from runtime.values.nearest import nearest
from runtime.values.units import Duration

LONGEST_SECONDS = 10 * 365 * 86400.0
_QUIET = {"Cache-Control": "no-store"}
log = logging.getLogger("tundish.auth")


class Wanted(Given):
    """A key that is to be made. `all_tenants`: it is of none, and sees what is everybody's; so is an administrator's
    that names no tenant. `functions`: all that it may call."""

    name: Annotated[str, Field(pattern=f"^{api_keys.NAME.pattern}$")]
    role: Role = "invoke"
    tenant: Annotated[str, Field(pattern=f"^{api_keys.TENANT.pattern}$")] | None = None
    all_tenants: bool = False
    functions: Annotated[list[Name], Field(min_length=1, max_length=1000)] | None = None
    expires: Annotated[Duration, Field(gt=0, le=LONGEST_SECONDS)] | None = None

    @field_validator("name")
    @classmethod
    def _free(cls, name: str) -> str:
        if name == api_keys.ADMIN:
            raise ValueError("is the name of the key in the administrator's file")
        return name


async def listing(request: Request) -> Response:
    """Every key that the caller may see, without its secret, with its limits and what it has used of them."""
    gateway, who, now = state.of(request), principal.of(request), time.time()

    def look() -> list[dict[str, Any]]:
        return _told(gateway, [key for key in api_keys.listed(gateway.sync_redis) if _sees(who, key)], now)

    return Response(to_json({"keys": await gateway.in_thread(look)}), headers=_QUIET, media_type="application/json")


async def create(request: Request) -> Response:
    """201 with the key itself, this once. 409 where the name is taken, 422 for a function that is not there."""
    gateway, who = state.of(request), principal.of(request)
    wanted = parse(Wanted, await body.json_object(request, gateway.project.limits.body))
    known = gateway.deployment.functions
    for position, name in enumerate(wanted.functions or ()):
        if name not in known:
            field = FieldError(f"functions[{position}]", f"there is no function {name}{nearest(name, known)}")
            raise InvalidArguments([field])
    confined = not wanted.all_tenants and not (wanted.role == "admin" and wanted.tenant is None)
    if wanted.all_tenants and wanted.tenant:
        raise InvalidArguments([FieldError("tenant", "stands beside all_tenants; a key has one of them")])
    tenant = wanted.tenant or (who.tenant if who.confined else DEFAULT_TENANT)
    if who.confined and (wanted.all_tenants or tenant != who.tenant):
        refuse(403, f"The key {who.name} is of tenant {who.tenant}, and makes keys of that tenant only.")
    if who.functions is not None and not set(wanted.functions or known) <= who.functions:
        refuse(403, f"The key {who.name} may call only {', '.join(sorted(who.functions))}, and so may those it makes.")
    key, secret = api_keys.new(
        wanted.name,
        wanted.role,
        by=who.name,
        tenant=tenant,
        confined=confined or who.confined,
        functions=None if wanted.functions is None else tuple(dict.fromkeys(wanted.functions)),
        expires=None if wanted.expires is None else time.time() + wanted.expires,
    )
    try:
        await gateway.in_thread(api_keys.add, gateway.sync_redis, key)
    except api_keys.KeyExists as error:
        refuse(409, str(error))
    log.info("the key %s (%s, tenant %s) was made by %s", key.name, key.role, key.tenant, who.name)
    (told,) = await gateway.in_thread(_told, gateway, [key], time.time())
    return Response(to_json(told | {"key": secret}), 201, _QUIET, "application/json")


async def revoke(request: Request) -> Response:
    """It opens nothing any more, at any gateway."""
    gateway, who, name = state.of(request), principal.of(request), request.path_params["name"]
    key = await gateway.in_thread(api_keys.find, gateway.sync_redis, name)
    if key is None or not _sees(who, key) or not await gateway.in_thread(api_keys.revoke, gateway.sync_redis, name):
        refuse(404, f"There is no key called {name}.")
    log.info("the key %s was revoked by %s", name, who.name)
    return Response(to_json({"name": name, "revoked": True}), headers=_QUIET, media_type="application/json")


def _told(gateway: state.Gateway, found: Sequence[api_keys.ApiKey], now: float) -> list[dict[str, Any]]:
    """What may be shown of keys, and what is left to each."""
    left = usage.of_keys(gateway.sync_redis, gateway.project, {key.name: key.tenant for key in found})
    return [key.told(now) | left[key.name] for key in found]


def _sees(who: Principal, key: api_keys.ApiKey) -> bool:
    """A tenant's administrator sees its tenant's keys, not those that are of no tenant."""
    return not who.confined or (key.confined and key.tenant == who.tenant)
