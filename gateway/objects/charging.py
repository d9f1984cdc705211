"""Counting what is put through a gateway: before it is stored, so that a quota cannot be overrun from many sides."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import redis

from runtime.broker import scripts
from runtime.callers import tenant_limits
from runtime.security.principal import DEFAULT_TENANT

if TYPE_CHECKING:
    from gateway.state import Gateway


@dataclass(frozen=True, slots=True)
class Charge:
    """What was counted of one object; `place` is BUCKET/KEY."""

    tenant: str
    place: str
    bytes: int
    key: str
    """Whose usage is counted, too; empty: nobody's."""


@contextlib.asynccontextmanager
async def charged(
    gateway: Gateway, tenant: str, place: str, length: int | None, caller: str
) -> AsyncIterator[Callable[[int], None]]:
    """Around what stores an object; it tells how many bytes came. Else nothing was stored, and nothing counts.

    Raises LimitReached before anything is stored.
    """
    charge, sizes = await begin(gateway, tenant, place, length, caller), list[int]()
    try:
        yield sizes.append
    finally:
        await settle(gateway, charge, sizes[0] if sizes else None)


async def begin(gateway: Gateway, tenant: str, place: str, length: int | None, caller: str) -> Charge | None:
    """Count an object that is to come, of `length` bytes if that is known. None: nothing is counted.

    Raises LimitReached. While the broker is away nothing is counted, and nobody is refused.
    """
    if not gateway.project.tenants and tenant == DEFAULT_TENANT:
        return None
    limits = tenant_limits.of_upload(gateway.project, tenant, caller)
    try:
        answer: Any = await scripts.run_async(gateway.redis, "upload", (), [tenant, place, length or 0, limits])
    except (redis.RedisError, OSError):
        return None
    if answer[0] == b"over":
        raise tenant_limits.reached(answer[1])
    gateway.quota_notes.note(tenant, tenant_limits.near(answer[2]))
    spec = tenant_limits.spec_of(gateway.project, tenant)
    key = tenant_limits.key_usage(caller) if spec and spec.key_quota.limits() else ""
    return Charge(tenant, place, length or 0, key)


async def settle(gateway: Gateway, charge: Charge | None, size: int | None) -> None:
    """It has come, with so many bytes; None: it has not."""
    if charge is None or size == charge.bytes:
        return
    documents, came = (-1, 0) if size is None else (0, size)
    with contextlib.suppress(redis.RedisError, OSError):
        given: list[scripts.Argument] = [charge.tenant, charge.place, documents, came - charge.bytes, charge.key]
        await scripts.run_async(gateway.redis, "uploaded", (), given)
