"""How much of their quotas tenants have used, for `/metrics`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import redis
from prometheus_client.metrics_core import Metric

from runtime.callers import usage
from runtime.errors import BrokerDown
from runtime.metrics.exposition import gauge

if TYPE_CHECKING:
    from gateway.state import Gateway

MOST = 1000
"""Tenants that are told of, those that use most of a quota first: anybody may be one where `tenants: {"*": …}` is."""


@dataclass(frozen=True, eq=False)  # a registry keeps collectors by identity
class Quotas:
    """The used share of each quota at one moment, by tenant and what it is of."""

    shares: Mapping[tuple[str, str], float] = field(default_factory=dict)

    def collect(self) -> Iterator[Metric]:
        text = "Used share of a tenant's quota: 1 is all of it."
        yield gauge("tundish_tenant_quota_used_ratio", text, ("tenant", "what"), self.shares)


async def take(gateway: Gateway) -> Quotas:
    """Nothing where no tenant has a quota, and while the broker is away."""
    if not any(spec.quota.limits() for spec in gateway.project.tenants.values()):
        return Quotas()

    def look() -> Quotas:
        names = usage.tenants(gateway.sync_redis, gateway.project)
        found = usage.read(gateway.sync_redis, gateway.project, names, f"{datetime.now(UTC):%Y-%m}")
        shares = {
            (told["tenant"], what): part["share"]
            for told in found
            for what, part in (told["quota"] or {}).items()
            if what != "per"
        }
        return Quotas(dict(sorted(shares.items(), key=lambda item: -item[1])[:MOST]))

    try:
        return await gateway.in_thread(look)
    except (redis.RedisError, BrokerDown, OSError):
        return Quotas()
