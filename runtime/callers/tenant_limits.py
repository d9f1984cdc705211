"""Rates and quotas of tenants, as the scripts are told of them, and what these say. The counting itself is in Lua.

Days and months are those of UTC, by the broker's clock.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from runtime import keys
from runtime.config.settings import Project
from runtime.config.tenants import EVERY, TenantSpec
from runtime.errors import LimitReached

_OF_CALLS, _OF_UPLOADS = ("calls", "ms"), ("documents", "bytes")
_WORDS: Mapping[str, str] = {"calls": "calls", "ms": "seconds", "documents": "documents", "bytes": "bytes"}

Per = Literal["day", "month"]


@dataclass(frozen=True, slots=True)
class Near:
    """A quota of which at least four fifths are used; `used` and `limit` in calls, seconds, documents or bytes."""

    what: str
    used: float
    limit: float
    per: Per

    def __str__(self) -> str:
        return f"{self.used:g} of {self.limit:g} {self.what} a {self.per}"


def spec_of(project: Project, tenant: str) -> TenantSpec | None:
    """What functions.yaml says of a tenant."""
    return project.tenants.get(tenant) or project.tenants.get(EVERY)


def of_call(project: Project, tenant: str, caller: str) -> dict[str, Any]:
    """The limits that a call must keep, for _submit.lua; empty where there are none."""
    return _limits(project, tenant, caller, _OF_CALLS)


def of_upload(project: Project, tenant: str, caller: str) -> str:
    """The limits that an object must keep that is put, for upload.lua; empty where there are none."""
    limits = _limits(project, tenant, caller, _OF_UPLOADS)
    return json.dumps(limits) if limits else ""


def _limits(project: Project, tenant: str, caller: str, counted: Collection[str]) -> dict[str, Any]:
    spec = spec_of(project, tenant) if project.tenants else None
    if spec is None:
        return {}
    quotas = []
    for whose, of, given in (("tenant", tenant, spec.quota), ("key", key_usage(caller), spec.key_quota)):
        most = {what: limit for what, limit in given.limits().items() if what in counted}
        if most:
            quotas.append({"of": of, "whose": whose, "per": given.per, "most": most})
    named = ((spec.rate, keys.rate_of("tenant", tenant)), (spec.key_rate, keys.rate_of("key", caller)))
    # As many as the rate names may come together: then one for each that time has made room for.
    rates = [(key, rate[1] * 1e6 / rate[0], max(1.0, rate[0])) for rate, key in named if rate is not None]
    if not quotas and not rates:
        return {}
    key = {"key": key_usage(caller)} if spec.key_quota.limits() else {}
    return {"quotas": quotas, "rates": rates, **key}


def key_usage(caller: str) -> str:
    """The name under which the usage of an API key is counted; no tenant has a colon in its name."""
    return f"key:{caller}"


def near(told: bytes) -> Near | None:
    """What a script says of a quota that is nearly used up."""
    if not told:
        return None
    found = json.loads(told)
    return Near(_WORDS[found["what"]], _amount(found, "used"), _amount(found, "limit"), found["per"])


def reached(told: bytes, now: float | None = None) -> LimitReached:
    """What a script says of a limit that was reached, as what is raised; `now` in seconds since the epoch."""
    found = json.loads(told)
    if found["what"] == "rate":
        wait = max(1, -(-int(found["wait"]) // 1000))
        return LimitReached(f"This comes too fast for the rate of its tenant or key. Try again in {wait} s.", wait)
    used, limit = _amount(found, "used"), _amount(found, "limit")
    wait = seconds_left(found["per"], time.time() if now is None else now)
    return LimitReached(
        f"The quota of the {found['whose']} is used up: {used:g} of {limit:g} {_WORDS[found['what']]} "
        f"this {found['per']}. The next {found['per']} begins at midnight UTC, in {wait} s.",
        wait,
    )


def seconds_left(per: Per, now: float) -> int:
    """Until the next day or month begins; at least one."""
    moment = datetime.fromtimestamp(now, UTC)
    start = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    next_month = (start.replace(day=1) + timedelta(days=32)).replace(day=1)
    following = start + timedelta(days=1) if per == "day" else next_month
    return max(1, int((following - moment).total_seconds()) + 1)


def _amount(found: Mapping[str, Any], name: str) -> float:
    value = float(found[name])
    return value / 1000 if found["what"] == "ms" else value
