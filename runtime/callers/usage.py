"""What tenants have used, by the day: calls, seconds, documents and bytes. Counted where it happens, read here.

A call is counted when it is accepted, however it came about (by HTTP, a schedule, a bucket or a function); seconds when
an attempt ends; documents and their bytes when they are put through a gateway, or handed out by a bucket trigger.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import redis

from runtime import keys
from runtime.broker import scripts
from runtime.broker.connection import translated
from runtime.callers.tenant_limits import key_usage, spec_of
from runtime.config.settings import Project
from runtime.config.tenants import KeyQuota, Quota
from runtime.values.units import format_rate

MONTH = re.compile(r"\d{4}-(0[1-9]|1[0-2])")
WHAT = ("calls", "seconds", "documents", "bytes")
_COUNTED = {"calls": "calls", "ms": "seconds", "documents": "documents", "bytes": "bytes"}


def tenants(client: redis.Redis, project: Project) -> list[str]:
    """Those that have used anything, and those that functions.yaml names. Raises BrokerDown."""
    with translated():
        found: Any = client.smembers(keys.USAGE)
    named = {name for name in project.tenants if name != "*"}
    return sorted({name.decode() for name in found if b":" not in name} | named)  # else it is a key's


def read(client: redis.Redis, project: Project, names: Iterable[str], month: str) -> list[dict[str, Any]]:
    """The usage of tenants in a month (2026-03, UTC), in all and by day, beside their limits. Raises BrokerDown."""
    listed = list(names)
    with translated(), client.pipeline(transaction=False) as pipe:
        for name in listed:
            pipe.hgetall(keys.usage(name, month))
        answers: list[Any] = pipe.execute()
    return [_told(project, name, month, found) for name, found in zip(listed, answers, strict=True)]


def _told(project: Project, tenant: str, month: str, found: Mapping[bytes, bytes]) -> dict[str, Any]:
    days = _days(found)
    total = _total(days)
    return {
        "tenant": tenant,
        **total,
        "days": dict(sorted(days.items())),
        **_limits(project, tenant, month, days, total),
    }


def _days(found: Mapping[bytes, bytes]) -> dict[str, dict[str, float]]:
    days: dict[str, dict[str, float]] = {}
    for field, value in found.items():
        day, _, what = field.decode().partition(":")
        if what in _COUNTED:
            amount = int(value) / 1000 if what == "ms" else int(value)
            days.setdefault(day, dict.fromkeys(WHAT, 0))[_COUNTED[what]] = amount
    return days


def _total(days: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    return {name: round(sum(day[name] for day in days.values()), 3) for name in WHAT}


def _limits(
    project: Project,
    tenant: str,
    month: str,
    days: Mapping[str, Mapping[str, float]],
    total: Mapping[str, float],
) -> dict[str, Any]:
    """`quota`: of what is limited, how much of it is used in the day or month that it is for."""
    spec = spec_of(project, tenant)
    if spec is None:
        return {"quota": None, "rate": None, "key_rate": None, "key_quota": None}
    most = {_COUNTED[name]: limit for name, limit in spec.key_quota.limits().items()}
    return {
        "quota": _shares(spec.quota, month, days, total),
        "rate": spec.rate and format_rate(spec.rate),
        "key_rate": spec.key_rate and format_rate(spec.key_rate),
        "key_quota": {"per": spec.key_quota.per, **most} if most else None,
    }


def _shares(
    given: Quota | KeyQuota, month: str, days: Mapping[str, Mapping[str, float]], total: Mapping[str, float]
) -> dict[str, Any] | None:
    today = datetime.now(UTC)
    here: Mapping[str, float] = total
    if given.per == "day":
        here = days.get(f"{today.day:02}", {}) if month == f"{today:%Y-%m}" else {}
    shares: dict[str, Any] = {}
    for name, limit in given.limits().items():
        what, most = _COUNTED[name], limit / 1000 if name == "ms" else limit
        used = here.get(what, 0)
        shares[what] = {"used": used, "limit": most, "share": round(used / most, 4) if most else 1.0}
    return {"per": given.per, **shares} if shares else None


def of_keys(client: redis.Redis, project: Project, owners: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The `rate` of each API key (name → tenant), and of its `quota` what is used now. Raises BrokerDown."""
    month = f"{datetime.now(UTC):%Y-%m}"
    specs = {name: spec for name, tenant in owners.items() if (spec := spec_of(project, tenant))}
    counted = [name for name, spec in specs.items() if spec.key_quota.limits()]
    with translated(), client.pipeline(transaction=False) as pipe:
        for name in counted:
            pipe.hgetall(keys.usage(key_usage(name), month))
        found: dict[str, Mapping[bytes, bytes]] = dict(zip(counted, pipe.execute(), strict=True))
    told = dict[str, dict[str, Any]]()
    for name in owners:
        spec, days = specs.get(name), _days(found.get(name, {}))
        told[name] = {
            "rate": format_rate(spec.key_rate) if spec and spec.key_rate else None,
            "quota": _shares(spec.key_quota, month, days, _total(days)) if spec else None,
        }
    return told


def hand_out(client: redis.Redis, tenant: str, bucket: str, objects: Iterable[tuple[str, int]]) -> None:
    """Count objects (key and bytes) that a bucket trigger has handed out. A broker that is away counts nothing."""
    told: list[scripts.Argument] = [tenant]
    for key, size in objects:
        told += [f"{bucket}/{key}", size]
    if len(told) > 1:
        with contextlib.suppress(redis.RedisError, OSError):
            scripts.run(client, "handed_out", (), told)
